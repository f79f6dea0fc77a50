import pickle
from collections.abc import Iterator
from typing import ClassVar

from mmengine.fileio import join_path
from mmengine.logging import print_log
from mmengine.utils import is_abs

from mmground.registry import DATASETS

from .alignment import WordPieceAligner, align_utterances
from .base_grounding import BaseGroundingDataset
from .json_stream import iter_json
from .malformed import malformed


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

    def load_records(self) -> Iterator[dict]:
        """Read both annotation files and align every phrase with its caption.

        Yields:
            One record per narrative with a grounded phrase, in the order of the file.
        """
        panoptic = PanopticFile(self.panoptic_ann_file, self.backend_args)
        self._metainfo.setdefault('categories', panoptic.categories)
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
        # Ending with a separator, joined once: a join looks up the file backend each time.
        self._folders = {key: join_path(folder, '') for key, folder in self.data_prefix.items()}
        for index, narrative in enumerate(iter_narratives(self.ann_file, self.backend_args)):
            self.counts['narratives'] += 1
            try:
                record = self._parse_narrative(index, narrative, panoptic, align)
            except (AttributeError, KeyError, TypeError) as error:
                malformed(self.ann_file, f'narrative {index}', error)
            if record is not None:
                self.counts['samples'] += 1
                self.counts['phrases'] += len(record['phrases'])
                yield record
        self._log_counts()

    def _parse_narrative(
        self, index: int, narrative: dict, panoptic: 'PanopticFile', align
    ) -> dict | None:
        try:
            image_id = int(narrative['image_id'])
        except ValueError as error:
            malformed(self.ann_file, f'narrative {index}', error)
        caption, utterances = narrative['caption'], narrative['segments']
        segments = panoptic.segments(image_id)
        if segments is None:
            raise ValueError(
                f'{panoptic.path}: there is no annotation of image {image_id}, which narrative '
                f'{index} of {self.ann_file} describes; take both files of the same split'
            )
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
            segment_ids = self._segment_ids(index, utterances[i], image_id, segments)
            if span is None:
                self.counts['unlocated_phrases'] += 1
                continue
            for segment_id in segment_ids:
                region = regions.setdefault(segment_id, len(regions))
                links.append((len(phrases), region))
            last = segments[segment_ids[-1]]
            phrases.append(
                {
                    'text': caption[slice(*span)],
                    'span': span,
                    'type': 'thing' if panoptic.is_thing(last) else 'stuff',
                    'phrase_id': str(i),
                }
            )
        if not phrases:
            self.counts['ungrounded_narratives'] += 1
            return None
        image = panoptic.images[image_id]
        return {
            'img_path': self._folders['img_path'] + image.file_name,
            'seg_map_path': self._folders['seg_map_path'] + image.seg_map_name,
            'img_id': str(image_id),
            'sample_id': f'{image_id}_{index}',
            'height': image.height,
            'width': image.width,
            'text': caption,
            'phrases': phrases,
            'regions': [panoptic.region(segments[segment_id]) for segment_id in regions],
            'links': links,
        }

    def _segment_ids(
        self, index: int, utterance: dict, image_id: int, segments: dict[int, 'Row']
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


def iter_narratives(path: str, backend_args: dict | None = None) -> Iterator:
    """The narratives of ``png_coco_*.json``, one by one.

    Args:
        path: The file.
        backend_args: File backend of :mod:`mmengine.fileio`.

    Yields:
        The entries of the file's list, unchecked.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, or not a list.
    """
    for key, entry in iter_json(path, backend_args):
        if key is not None:
            raise ValueError(
                f'{path}: expected the list of narratives of png_coco_*.json, got a dict; check '
                'ann_file'
            )
        yield entry


Row = tuple[int, int, float, float, float, float, float]
"""A segment: id, category id, x, y, width, height, area."""


class PanopticImage:
    """What a COCO panoptic file says of an image.

    Attributes:
        file_name (str): Name of the image's file, None until the image is read.
        height, width (int): Size in pixels.
        seg_map_name (str): Name of the panoptic PNG, None until the annotation is read.
        packed (bytes): The segments, a list of :data:`Row`, pickled, which takes far less
            memory than a dict for each. None until the annotation is read.
    """

    __slots__ = ('file_name', 'height', 'packed', 'seg_map_name', 'width')

    def __init__(self) -> None:
        self.file_name = self.seg_map_name = self.packed = None


class PanopticFile:
    """A COCO panoptic annotation file in little memory.

    Args:
        path: ``panoptic_*.json``.
        backend_args: File backend of :mod:`mmengine.fileio`.

    Attributes:
        images (dict[int, PanopticImage]): By id.
        categories (list[dict]): As in the file.
        description (str): Of the file's ``info``, empty if there is none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, lacks a list or has a malformed entry.
    """

    def __init__(self, path: str, backend_args: dict | None = None) -> None:
        self.path = path
        self.images: dict[int, PanopticImage] = {}
        self.categories: list[dict] = []
        self.description = ''
        self._is_thing: dict[int, bool] = {}
        self._first_use: dict[int, int] = {}  # annotation by category
        readers = dict(
            images=self._read_image,
            annotations=self._read_annotation,
            categories=self._read_category,
        )
        counts = {}
        for key, entry in iter_json(path, backend_args):
            if key == 'info' and isinstance(entry, dict):
                self.description = str(entry.get('description', ''))
            if key not in readers:
                continue
            if key not in counts:
                # The first of a list is the list itself, empty.
                counts[key] = 0 if entry == [] else None
                continue
            index = counts[key]
            try:
                readers[key](index, entry)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                malformed(path, f'{_SINGULAR[key]} {index}', error)
            counts[key] += 1
        for key in readers:
            if counts.get(key) is None:
                raise ValueError(
                    f'{path}: expected a COCO panoptic file, but there is no list {key!r}; '
                    'check panoptic_ann_file'
                )
        for category, index in self._first_use.items():
            if category not in self._is_thing:
                error = ValueError(f'category {category} is not among the categories')
                malformed(path, f'annotation {index}', error)

    def segments(self, image_id: int) -> dict[int, Row] | None:
        """The segments of an image by their ids.

        Returns:
            None if the file lacks the image or its annotation.
        """
        image = self.images.get(image_id)
        if image is None or image.packed is None or image.file_name is None:
            return None
        return {row[0]: row for row in pickle.loads(image.packed)}

    def is_thing(self, row: Row) -> bool:
        """Whether a segment is a thing and not stuff."""
        return self._is_thing[row[1]]

    def region(self, row: Row) -> dict:
        """A segment as a region of a record."""
        segment_id, category, x, y, width, height, area = row
        return {
            'segment_id': segment_id,
            'category_id': category,
            'is_thing': self._is_thing[category],
            'bbox': (x, y, x + width, y + height),
            'area': area,
        }

    def _image(self, image_id: int) -> PanopticImage:
        image = self.images.get(image_id)
        if image is None:
            image = self.images[image_id] = PanopticImage()
        return image

    def _read_image(self, index: int, entry: dict) -> None:
        image = self._image(entry['id'])
        image.height, image.width = int(entry['height']), int(entry['width'])
        image.file_name = str(entry['file_name'])

    def _read_annotation(self, index: int, entry: dict) -> None:
        image = self._image(entry['image_id'])
        rows = []
        for segment in entry['segments_info']:
            x, y, width, height = segment['bbox']
            category = segment['category_id']
            self._first_use.setdefault(category, index)
            rows.append((segment['id'], category, x, y, width, height, segment['area']))
        image.seg_map_name = str(entry['file_name'])
        image.packed = pickle.dumps(rows)

    def _read_category(self, index: int, entry: dict) -> None:
        self._is_thing[entry['id']] = bool(entry['isthing'])
        self.categories.append(entry)


_SINGULAR = dict(images='image', annotations='annotation', categories='category')
