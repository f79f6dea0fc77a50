import logging
import os.path as osp
from collections.abc import Iterator
from typing import ClassVar

from mmengine.fileio import join_path
from mmengine.logging import print_log

from mmground.registry import DATASETS

from .base_grounding import BaseGroundingDataset
from .flickr30k_files import (
    FOLDERS,
    KEEP,
    NOT_VISUAL,
    ChainBoxes,
    MarkedCaption,
    box_around,
    chosen_captions,
    is_kept,
    numbers_by_image,
    read_boxes,
    read_captions,
    read_split,
)
from .relation_file import Relation, RelationFile

_BOXES = ('union', 'all')


@DATASETS.register_module()
class Flickr30kEntitiesDataset(BaseGroundingDataset):
    """Phrases of captions and their boxes: `Flickr30k Entities
    <https://github.com/BryanPlummer/flickr30k_entities>`_, from the released files.

    A sample is a caption of an image; its phrases are the marked ones. Chains of the same number
    are one region, so phrases that mention it again share it. By default the official rules apply:
    **a phrase without a box is dropped, in training as in evaluation** (so training reads of each
    phrase whether it has a box, though not where), and the box of a chain with several is the
    smallest one around them.

    Beside what :class:`BaseGroundingDataset` lists, a record has ``num_predicates``, how many
    predicates ``relations`` tell apart. What could not be used, and why, is logged and kept in
    :attr:`counts`.

    Args:
        ann_file: The list of a split's images, see :func:`.flickr30k_files.read_split`.
        relations: File of :class:`RelationFile`. A relation stays if both its phrases do, so the
            file should have been counted with the same ``keep``; in training a warning tells
            where it says that it was not. None: the captions have no relations.
        keep: Which phrases are kept: ``'boxed'``; ``'visual'``, also scenes and others that have
            no box; ``'all'``, also those that are marked as not visual. With the latter two,
            training takes nothing from the annotations of boxes; they are not for evaluation.
        boxes: ``'union'``, one region around all boxes of a chain; or ``'all'``, a region for
            each, of which a phrase has several links, such as a metric needs that accepts any
            (``PhraseGroundingMetric(target='any')``): of the box around them it cannot tell.
        data_root: Folder of the files.
        data_prefix: The folders ``img_path`` (by default ``flickr30k-images``), ``sentences``
            (``Sentences``) and ``boxes`` (``Annotations``), relative to the root.
        **kwargs: See :class:`BaseGroundingDataset`.

    Attributes:
        counts (dict[str, int]): ``captions`` of the split; ``samples`` made of them, the others
            have no phrase left (``captions_without_phrase``); marked ``phrases`` and those that
            were ``kept``; of the phrases without a box those that are ``not_visual``, a ``scene``,
            of which there is ``no_box``, and which the file of boxes does not name
            (``unknown_chains``); ``empty_boxes`` without area, which count as none; and
            ``relations`` kept and ``dropped_relations``.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the arguments are not as above, or a file is malformed. The message names
            file and line or object.

    Example:
        >>> dataset = Flickr30kEntitiesDataset(ann_file='val.txt', data_root='data/flickr30k')
    """

    METAINFO: ClassVar[dict] = {
        'dataset_type': 'flickr30k_entities',
        'task_name': 'phrase_grounding',
    }

    def __init__(
        self,
        ann_file: str,
        relations: str | None = None,
        keep: str = 'boxed',
        boxes: str = 'union',
        data_root: str = '',
        data_prefix: dict | None = None,
        test_mode: bool = False,
        **kwargs,
    ):
        if keep not in KEEP:
            raise ValueError(f'keep must be one of {KEEP}, got {keep!r}')
        if keep != 'boxed' and test_mode:
            raise ValueError(
                f'keep={keep!r} keeps phrases without a box, which no evaluation (test_mode) can '
                "score: use keep='boxed'"
            )
        if boxes not in _BOXES:
            raise ValueError(f'boxes must be one of {_BOXES}, got {boxes!r}')
        self.keep = keep
        self.boxes = boxes
        self.relations = relations
        self.counts: dict[str, int] = {}
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix={**FOLDERS, **(data_prefix or {})},
            test_mode=test_mode,
            **kwargs,
        )

    def load_records(self) -> Iterator[dict]:
        """Read the files of every image of the split.

        Yields:
            A record per caption, image by image.
        """
        self.counts = dict.fromkeys(
            (
                'captions',
                'samples',
                'captions_without_phrase',
                'phrases',
                'kept',
                'not_visual',
                'scene',
                'no_box',
                'unknown_chains',
                'empty_boxes',
                'relations',
                'dropped_relations',
            ),
            0,
        )
        file = self._read_relations()
        for img_id, numbers in numbers_by_image(read_split(self.ann_file)).items():
            yield from self._load_image(img_id, numbers, file)
        self._log_counts()

    def _read_relations(self) -> RelationFile | None:
        if self.relations is None:
            return None
        path = self.relations
        if self.data_root and not osp.isabs(path):
            path = join_path(self.data_root, path)
        file = RelationFile.load(path)
        self._metainfo['predicates'] = list(file.predicates)
        counted = file.info.get('keep', self.keep)
        if counted != self.keep and not self.test_mode:
            print_log(
                f'{path}: its predicates were chosen and counted between the phrases of '
                f'keep={counted!r}, but this data set has keep={self.keep!r}: the weights of '
                'relations are not those of its training; write the file anew with '
                f'tools/dataset_converters/parse_relations.py --keep {self.keep}',
                logger='current',
                level=logging.WARNING,
            )
        return file

    def _load_image(
        self, img_id: str, numbers: list[int] | None, file: RelationFile | None
    ) -> Iterator[dict]:
        captions = read_captions(join_path(self.data_prefix['sentences'], f'{img_id}.txt'))
        annotated = read_boxes(join_path(self.data_prefix['boxes'], f'{img_id}.xml'))
        self.counts['empty_boxes'] += annotated.drop_empty_boxes()
        for number in chosen_captions(numbers, captions, img_id, self.ann_file):
            self.counts['captions'] += 1
            caption = captions[number]
            relations = []
            if file is not None:
                relations = file.of(img_id, number, len(caption.phrases))
            record = self._record(caption, annotated, relations)
            if record is None:
                self.counts['captions_without_phrase'] += 1
                continue
            self.counts['samples'] += 1
            yield {
                'sample_id': f'{img_id}_{number}',
                'img_id': img_id,
                'img_path': join_path(self.data_prefix['img_path'], f'{img_id}.jpg'),
                'height': annotated.height,
                'width': annotated.width,
                'num_predicates': 0 if file is None else len(file.predicates),
                **record,
            }

    def _record(
        self, caption: MarkedCaption, annotated: ChainBoxes, relations: list[Relation]
    ) -> dict | None:
        """What a caption says, None if no phrase is left."""
        kept: dict[int, int] = {}
        for index, phrase in enumerate(caption.phrases):
            self._count_without_box(phrase.chain, annotated)
            if is_kept(phrase.chain, self.keep, annotated):
                kept[index] = len(kept)
        self.counts['phrases'] += len(caption.phrases)
        self.counts['kept'] += len(kept)
        regions, links, of_chain = [], [], {}
        for index, phrase in ((new, caption.phrases[old]) for old, new in kept.items()):
            if phrase.chain not in of_chain:
                boxes = annotated.boxes.get(phrase.chain, [])
                if self.boxes == 'union' and boxes:
                    boxes = [box_around(boxes)]
                of_chain[phrase.chain] = range(len(regions), len(regions) + len(boxes))
                regions += [{'bbox': box} for box in boxes]
            links += [(index, region) for region in of_chain[phrase.chain]]
        related = [
            (kept[subject], kept[object_], predicates)
            for subject, object_, predicates in relations
            if subject in kept and object_ in kept
        ]
        self.counts['relations'] += len(related)
        self.counts['dropped_relations'] += len(relations) - len(related)
        if not kept:
            return None
        return {
            'text': caption.text,
            'phrases': [
                {
                    'text': phrase.text,
                    'span': phrase.span,
                    'type': phrase.types[0],
                    'phrase_id': phrase.chain,
                }
                for phrase in (caption.phrases[old] for old in kept)
            ],
            'regions': regions,
            'links': links,
            'relations': related,
        }

    def _count_without_box(self, chain: str, annotated: ChainBoxes) -> None:
        if chain == NOT_VISUAL:
            self.counts['not_visual'] += 1
        elif chain in annotated.boxes:
            return
        elif chain in annotated.scene:
            self.counts['scene'] += 1
        elif chain in annotated.no_box:
            self.counts['no_box'] += 1
        else:
            self.counts['unknown_chains'] += 1

    def _log_counts(self) -> None:
        counts = self.counts
        lines = [
            f'{self.ann_file}: {counts["samples"]} samples of {counts["captions"]} captions, '
            f'{counts["kept"]} of {counts["phrases"]} phrases'
        ]
        for key, text in (
            ('captions_without_phrase', 'captions have no phrase left'),
            ('not_visual', 'phrases are not visual'),
            ('scene', 'are of the scene, without a box'),
            ('no_box', 'could not be boxed'),
            ('unknown_chains', 'are not in the file of boxes'),
            ('empty_boxes', 'boxes have no area and count as none'),
            ('dropped_relations', 'relations left out with their phrases'),
        ):
            if counts[key]:
                lines.append(f'{counts[key]} {text}')
        print_log('; '.join(lines), logger='current')
