from typing import ClassVar, NoReturn

from mmengine.fileio import join_path
from mmengine.logging import print_log
from mmengine.utils import is_abs

from mmground.registry import DATASETS

from .alignment import WordPieceAligner, align_utterances
from .base_grounding import BaseGroundingDataset


@DATASETS.register_module()
class PNGDataset(BaseGroundingDataset):
    """Panoptic narrative grounding on COCO (`Gonzalez et al., ICCV 2021
    <https://arxiv.org/abs/2109.04988>`_), read from the files of the benchmark.

    A sample is a narrative. Its phrases are the utterances that are nouns and have
    segments, and only these: narratives without such an utterance are left out. A
    region is a segment of the image's panoptic annotation, looked up by its id; the
    ``plural`` flag of the file is not read: a phrase is plural if it has several
    segments. A phrase's ``span`` is its character range in the caption; how many phrases
    and narratives could not be used, and why, is logged and kept in :attr:`counts`.

    Beside what :class:`BaseGroundingDataset` lists, a record has ``seg_map_path``, the
    panoptic PNG from which :class:`LoadGroundingMasks` cuts the masks. ``sample_id`` is
    the image's id and the narrative's index in the file, ``phrase_id`` the utterance's
    index in the narrative, ``type`` is ``'thing'`` or ``'stuff'`` after the phrase's last
    segment. ``metainfo['categories']`` is the panoptic file's list of categories.

    Args:
        ann_file: ``png_coco_{train,val}2017.json``.
        panoptic_ann_file: ``panoptic_{train,val}2017.json`` of COCO, relative to
            ``data_root`` or absolute.
        data_prefix: ``img_path``: the folder of the images; ``seg_map_path``: that of the
            panoptic PNGs.
        legacy_alignment: Keep the same narratives, and the same word pieces for each
            phrase, as the preprocessing of the published systems, for numbers that
            compare to theirs. It discards a narrative whose caption and utterances differ
            in their number of word pieces (see :class:`WordPieceAligner`), which the
            default keeps. One difference stays: a phrase that names one segment twice is
            a plural there and a singular here (``counts['repeated_segments']``).
        vocab_file: The WordPiece vocabulary for ``legacy_alignment``.
        **kwargs: See :class:`BaseGroundingDataset`.

    Attributes:
        counts (dict[str, int]): Filled on loading. ``narratives`` in the file;
            ``mismatched_narratives`` that ``legacy_alignment`` discarded;
            ``ungrounded_narratives`` without a usable phrase; ``samples`` that remain,
            before ``filter_cfg`` and ``indices``; their ``phrases``;
            ``unlocated_phrases`` that are not in their caption and were left out;
            ``repeated_segments``: times that a phrase names a segment again.

    Raises:
        FileNotFoundError: If an annotation file or the vocabulary does not exist.
        ValueError: If a file is not what it should be, or a narrative refers to an image
            or segment that the panoptic file lacks. The message names file and record.

    Example:
        >>> dataset = PNGDataset(
        ...     data_root='data/coco',
        ...     ann_file='annotations/png_coco_val2017.json',
        ...     panoptic_ann_file='annotations/panoptic_val2017.json',
        ...     data_prefix=dict(
        ...         img_path='images/val2017',
        ...         seg_map_path='annotations/panoptic_segmentation/val2017'))
    """

    METAINFO: ClassVar[dict] = {'dataset_type': 'png', 'task_name': 'panoptic_narrative_grounding'}

    def __init__(
        self,
        *args,
        panoptic_ann_file: str,
        data_prefix: dict,
        legacy_alignment: bool = False,
        vocab_file: str | None = None,
        **kwargs,
    ):
        missing = {'img_path', 'seg_map_path'} - set(data_prefix)
        if missing:
            raise ValueError(f'data_prefix of PNGDataset lacks {sorted(missing)}')
        if legacy_alignment != (vocab_file is not None):
            raise ValueError(
                'legacy_alignment=True needs vocab_file, the WordPiece vocabulary of the text '
                'encoder, and vocab_file is used for nothing else; got '
                f'legacy_alignment={legacy_alignment}, vocab_file={vocab_file!r}'
            )
        self.panoptic_ann_file = panoptic_ann_file
        self.legacy_alignment = legacy_alignment
        self.vocab_file = vocab_file
        self.counts: dict[str, int] = {}
        super().__init__(*args, data_prefix=data_prefix, **kwargs)

    def _join_prefix(self) -> None:
        super()._join_prefix()
        if self.data_root and not is_abs(self.panoptic_ann_file):
            self.panoptic_ann_file = join_path(self.data_root, self.panoptic_ann_file)

    def load_records(self) -> list[dict]:
        """Read both annotation files and align every phrase with its caption.

        Returns:
            One record per narrative with a grounded phrase, in the order of the file.
        """
        narratives = self.load_json(self.ann_file)
        if not isinstance(narratives, list):
            raise ValueError(
                f'{self.ann_file}: expected the list of narratives of png_coco_*.json, got a '
                f'{type(narratives).__name__}; check ann_file'
            )
        panoptic = self._load_panoptic(self._image_ids(narratives))
        align = WordPieceAligner(self.vocab_file) if self.legacy_alignment else align_utterances
        self.counts = dict.fromkeys(
            (
                'narratives',
                'mismatched_narratives',
                'ungrounded_narratives',
                'samples',
                'phrases',
                'unlocated_phrases',
                'repeated_segments',
            ),
            0,
        )
        self.counts['narratives'] = len(narratives)
        records = []
        for index, narrative in enumerate(narratives):
            try:
                record = self._parse_narrative(index, narrative, panoptic, align)
            except (AttributeError, KeyError, TypeError) as error:
                _malformed(self.ann_file, f'narrative {index}', error)
            if record is not None:
                records.append(record)
        self.counts['samples'] = len(records)
        self.counts['phrases'] = sum(len(record['phrases']) for record in records)
        self._log_counts()
        return records

    def _image_ids(self, narratives: list) -> list[int]:
        image_ids = []
        for index, narrative in enumerate(narratives):
            try:
                image_ids.append(int(narrative['image_id']))
            except (KeyError, TypeError, ValueError) as error:
                _malformed(self.ann_file, f'narrative {index}', error)
        return image_ids

    def _load_panoptic(self, image_ids: list[int]) -> dict[int, dict]:
        """Read what the panoptic file says of some images.

        Returns:
            Per image id the keys of a record that concern the image, and ``segments``: a
            region of a record per segment id.
        """
        path = self.panoptic_ann_file
        content = self.load_json(path)
        for key in ('images', 'annotations', 'categories'):
            if not isinstance(content, dict) or not isinstance(content.get(key), list):
                raise ValueError(
                    f'{path}: expected a COCO panoptic file, but there is no list {key!r}; '
                    'check panoptic_ann_file'
                )
        is_thing = {}
        for index, category in enumerate(content['categories']):
            try:
                is_thing[category['id']] = bool(category['isthing'])
            except (KeyError, TypeError) as error:
                _malformed(path, f'category {index}', error)
        self._metainfo.setdefault('categories', content['categories'])

        images = dict.fromkeys(image_ids)
        for index, image in enumerate(content['images']):
            try:
                if image['id'] in images:
                    images[image['id']] = {
                        'img_path': join_path(self.data_prefix['img_path'], image['file_name']),
                        'height': int(image['height']),
                        'width': int(image['width']),
                    }
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                _malformed(path, f'image {index}', error)
        for index, annotation in enumerate(content['annotations']):
            try:
                image = images.get(annotation['image_id'])
                if image is None:
                    continue
                image['seg_map_path'] = join_path(
                    self.data_prefix['seg_map_path'], annotation['file_name']
                )
                image['segments'] = {
                    segment['id']: _region(segment, is_thing)
                    for segment in annotation['segments_info']
                }
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                _malformed(path, f'annotation {index}', error)
        for index, image_id in enumerate(image_ids):
            if images[image_id] is None or 'segments' not in images[image_id]:
                raise ValueError(
                    f'{path}: there is no annotation of image {image_id}, which narrative '
                    f'{index} of {self.ann_file} describes; take both files of the same split'
                )
        return images

    def _parse_narrative(self, index: int, narrative: dict, panoptic: dict, align) -> dict | None:
        caption, utterances = narrative['caption'], narrative['segments']
        image_id = int(narrative['image_id'])
        image = panoptic[image_id]
        wanted = [
            i
            for i, utterance in enumerate(utterances)
            if utterance['noun'] and utterance['segment_ids']
        ]
        spans = align(caption, [utterance['utterance'] for utterance in utterances], wanted)
        if spans is None:
            self.counts['mismatched_narratives'] += 1
            return None

        phrases, regions, links = [], {}, []
        for i, span in zip(wanted, spans, strict=True):
            segment_ids = self._segment_ids(index, utterances[i], image_id, image['segments'])
            if span is None:
                self.counts['unlocated_phrases'] += 1
                continue
            for segment_id in segment_ids:
                region = regions.setdefault(segment_id, len(regions))
                links.append((len(phrases), region))
            last = image['segments'][segment_ids[-1]]
            phrases.append(
                {
                    'text': caption[slice(*span)],
                    'span': span,
                    'type': 'thing' if last['is_thing'] else 'stuff',
                    'phrase_id': str(i),
                }
            )
        if not phrases:
            self.counts['ungrounded_narratives'] += 1
            return None
        return {
            'img_path': image['img_path'],
            'seg_map_path': image['seg_map_path'],
            'img_id': str(image_id),
            'sample_id': f'{image_id}_{index}',
            'height': image['height'],
            'width': image['width'],
            'text': caption,
            'phrases': phrases,
            'regions': [image['segments'][segment_id] for segment_id in regions],
            'links': links,
        }

    def _segment_ids(
        self, index: int, utterance: dict, image_id: int, segments: dict[int, dict]
    ) -> list[int]:
        for segment_id in utterance['segment_ids']:
            if not (str(segment_id).isdecimal() and int(segment_id) in segments):
                raise ValueError(
                    f'{self.ann_file}: narrative {index} (image {image_id}) links '
                    f'{utterance["utterance"]!r} to segment {segment_id!r}, which '
                    f'{self.panoptic_ann_file} does not have for this image; take both files '
                    'of the same split and release'
                )
        named = [int(segment_id) for segment_id in utterance['segment_ids']]
        # The last place of a repeated id stays: the last segment decides the phrase's type.
        segment_ids = list(dict.fromkeys(reversed(named)))[::-1]
        self.counts['repeated_segments'] += len(named) - len(segment_ids)
        return segment_ids

    def _log_counts(self) -> None:
        counts = self.counts
        lines = [
            f'{self.ann_file}: {counts["samples"]} of {counts["narratives"]} narratives kept, '
            f'with {counts["phrases"]} grounded phrases'
        ]
        if self.legacy_alignment:
            lines.append(
                f'{counts["mismatched_narratives"]} narratives discarded by legacy_alignment: '
                'caption and utterances differ in their number of word pieces'
            )
        if counts['ungrounded_narratives']:
            lines.append(f'{counts["ungrounded_narratives"]} narratives have no grounded phrase')
        if counts['unlocated_phrases']:
            lines.append(
                f'{counts["unlocated_phrases"]} grounded phrases left out: not found in their '
                'caption'
            )
        if counts['repeated_segments']:
            lines.append(
                f'{counts["repeated_segments"]} segments that a phrase names twice count once'
            )
        print_log('; '.join(lines), logger='current')


def _region(segment: dict, is_thing: dict[int, bool]) -> dict:
    if segment['category_id'] not in is_thing:
        raise ValueError(f'category {segment["category_id"]} is not among the categories')
    x, y, width, height = segment['bbox']
    return {
        'segment_id': segment['id'],
        'category_id': segment['category_id'],
        'is_thing': is_thing[segment['category_id']],
        'bbox': (x, y, x + width, y + height),
        'area': segment['area'],
    }


def _malformed(path: str, record: str, error: Exception) -> NoReturn:
    problem = f'there is no {error}' if isinstance(error, KeyError) else str(error)
    raise ValueError(
        f'{path}: {record} is malformed ({problem}); the file is not the published one: '
        'download it again'
    ) from error
