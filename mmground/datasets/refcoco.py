import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import ClassVar

from mmengine.fileio import join_path
from mmengine.logging import print_log

from mmground.registry import DATASETS
from mmground.structures import mask_area

from .base_grounding import BaseGroundingDataset
from .refer_api import (
    REFER_SETS,
    Instance,
    InstanceImage,
    Instances,
    Ref,
    ReferSet,
    Sentence,
    read_instances,
    read_refs,
    resolve_splits,
)

_UNITS = ('expression', 'ref')


@DATASETS.register_module()
class RefCocoDataset(BaseGroundingDataset):
    """Referring expressions: RefCOCO, RefCOCO+, RefCOCOg and ReferItGame, from the files of
    the `refer API <https://github.com/lichengunc/refer>`_.

    A sample is an expression: its text is one phrase, linked to one region, the object that
    it refers to, with the union of all its polygons as the mask. Samples of one image follow
    each other, so that batches in order share its encoding. Beside what
    :class:`BaseGroundingDataset` lists, a record has ``dataset`` and ``split``, by which
    metrics report; ``ref_id`` and ``ann_id``, the numbers of the reference and of its
    annotation; and the phrase's ``type`` is what distinguishes the target where the file says
    so (Grounding Shapes), otherwise empty.

    Several sets may be named. Their training images overlap with the others' validation and
    test images, so **the training samples of those images are left out**. Splits are never
    merged silently: ``'test'`` of a set with two test splits is an error.

    What could not be used, and why, is logged and kept in :attr:`counts`.

    Args:
        name: ``'refcoco'``, ``'refcoco+'``, ``'refcocog'`` (the splits of UMD),
            ``'refcocog_google'`` (of Google, in which training and validation share images) or
            ``'refclef'`` (ReferItGame); or a list of them.
        split: A split, a list of splits, or ``'held-out'`` for all but ``'train'``; each set
            must have them.
        unit: ``'expression'``, the unit of every evaluation; or ``'ref'``, for training: a
            sample is a referred object, whose expressions are in the record's ``sentences``;
            :class:`DrawSentence` draws one.
        official: Annotate as the official code of PBREC does, for numbers that compare to its:
            the box's x, y, width and height are truncated to whole pixels and not clipped to the
            image, and of the polygons only the first is used, which cuts occluded objects.
        allow_no_target: Keep expressions without a target (no annotation, or one without a
            pixel) as records without regions. By default they are an error.
        data_root: Folder that has a folder for each set, with ``instances.json`` and
            ``refs(*).p``.
        data_prefix: May have ``img_path``, the folder of the images. By default that of the
            refer API, ``images/mscoco/images/train2014`` or ``images/saiapr_tc-12``.
        **kwargs: See :class:`BaseGroundingDataset`.

    Attributes:
        counts (dict[str, int]): ``refs`` and ``expressions`` of the splits in the files;
            ``samples`` made of them; of these ``no_target`` without a target and
            ``clipped_boxes`` with a box that reached beyond the image; expressions left out,
            ``blank_expressions`` without any text and ``held_out_expressions`` of images in
            another set's validation and test splits; ``unknown_split_refs`` of splits that
            nobody knows.

    Raises:
        FileNotFoundError: If an annotation file does not exist.
        ValueError: If the arguments are not as above, a file is not what it should be, or an
            expression has no target. The message names file and reference.

    Example:
        >>> dataset = RefCocoDataset(name='refcoco', split='testA', data_root='data/refcoco')
    """

    METAINFO: ClassVar[dict] = {'dataset_type': 'refcoco', 'task_name': 'referring'}

    def __init__(
        self,
        name: str | Sequence[str],
        split: str | Sequence[str],
        unit: str = 'expression',
        official: bool = False,
        allow_no_target: bool = False,
        data_root: str = '',
        data_prefix: dict | None = None,
        test_mode: bool = False,
        control: str | None = None,
        **kwargs,
    ):
        if unit not in _UNITS:
            raise ValueError(f'unit must be one of {_UNITS}, got {unit!r}')
        if unit == 'ref' and (test_mode or control is not None):
            raise ValueError(
                "unit='ref' draws one expression of several, but an evaluation (test_mode, "
                "control) counts every one: use unit='expression'"
            )
        names = [name] if isinstance(name, str) else list(name)
        if not names or len(set(names)) < len(names):
            raise ValueError(f'name must name each set once, and one at least, got {name!r}')
        self.splits = {one: resolve_splits(one, split) for one in names}
        self.unit = unit
        self.official = official
        self.allow_no_target = allow_no_target
        self.counts: dict[str, int] = {}
        super().__init__(
            ann_file=', '.join(REFER_SETS[one].refs_path for one in names),
            data_root=data_root,
            data_prefix=data_prefix or {},
            test_mode=test_mode,
            control=control,
            **kwargs,
        )

    def load_records(self) -> Iterator[dict]:
        """Read the files of every set.

        Yields:
            A record per expression (or reference), image by image.
        """
        self.counts = dict.fromkeys(
            (
                'refs',
                'expressions',
                'samples',
                'no_target',
                'clipped_boxes',
                'blank_expressions',
                'held_out_expressions',
                'unknown_split_refs',
            ),
            0,
        )
        refs = {name: read_refs(self._path(REFER_SETS[name].refs_path)) for name in self.splits}
        held_out = {name: self._held_out_images(name, refs[name]) for name in self.splits}
        for name in self.splits:
            others = set().union(*(held_out[other] for other in self.splits if other != name))
            yield from self._load_set(name, refs[name], others)
        self._log_counts()

    def _path(self, relative: str) -> str:
        return join_path(self.data_root, relative) if self.data_root else relative

    def _image_folder(self, refer_set: ReferSet) -> str:
        return self.data_prefix.get('img_path') or self._path(refer_set.image_folder)

    def _held_out_images(self, name: str, refs: Sequence[Ref]) -> set[tuple[str, int]]:
        """Images of validation and test, by folder: ReferItGame's have numbers of their own."""
        folder = self._image_folder(REFER_SETS[name])
        return {(folder, ref.image_id) for ref in refs if ref.split != 'train'}

    def _load_set(self, name: str, refs: Sequence[Ref], others: set) -> Iterator[dict]:
        refer_set = REFER_SETS[name]
        refs_path = self._path(refer_set.refs_path)
        self._check_splits(name, refs, refs_path)
        wanted = [ref for ref in refs if ref.split in self.splits[name]]
        instances = read_instances(
            self._path(refer_set.instances_path),
            {ref.ann_id for ref in wanted if ref.ann_id is not None},
            self.backend_args,
        )
        self._add_categories(instances.categories)
        # Ending with a separator, joined once: a join looks up the file backend each time.
        folder = self._image_folder(refer_set)
        reader = _RefReader(self, name, refs_path, instances, join_path(folder, ''))
        for split in self.splits[name]:
            for ref in _by_image(ref for ref in wanted if ref.split == split):
                self.counts['refs'] += 1
                self.counts['expressions'] += len(ref.sentences)
                if split == 'train' and (folder, ref.image_id) in others:
                    self.counts['held_out_expressions'] += len(ref.sentences)
                    continue
                for record in reader.records(ref):
                    self.counts['samples'] += 1
                    yield record

    def _check_splits(self, name: str, refs: Sequence[Ref], refs_path: str) -> None:
        found = {ref.split for ref in refs}
        missing = [split for split in self.splits[name] if split not in found]
        if missing:
            raise ValueError(
                f'{refs_path}: no reference is of split {", ".join(missing)}, only of '
                f'{sorted(found)}; check data_root and the file'
            )
        unknown = found - set(REFER_SETS[name].splits)
        if unknown:
            count = sum(ref.split in unknown for ref in refs)
            self.counts['unknown_split_refs'] += count
            print_log(
                f'{refs_path}: {count} references are of the splits {sorted(unknown)}, which '
                f'{name} does not have; they are used for nothing',
                logger='current',
                level=logging.WARNING,
            )
        if REFER_SETS[name].shares_images:
            print_log(
                f'{refs_path}: in the splits of {name}, train and val share images; a model that '
                "was trained on train has seen images of val: for unseen images use 'refcocog'",
                logger='current',
                level=logging.WARNING,
            )

    def _add_categories(self, categories: Sequence[dict]) -> None:
        known = self._metainfo.setdefault('categories', [])
        ids = {category['id'] for category in known}
        known += [category for category in categories if category['id'] not in ids]

    def _log_counts(self) -> None:
        counts = self.counts
        lines = [
            f'{self.ann_file}: {counts["samples"]} samples of {counts["expressions"]} expressions '
            f'for {counts["refs"]} objects'
        ]
        for key, text in (
            ('held_out_expressions', "left out, of images in another set's val or test split"),
            ('blank_expressions', 'left out, without any text'),
            ('no_target', 'samples have no target'),
            ('clipped_boxes', 'boxes clipped to their image'),
        ):
            if counts[key]:
                lines.append(f'{counts[key]} {text}')
        print_log('; '.join(lines), logger='current')


def _by_image(refs: Iterator[Ref]) -> list[Ref]:
    """In the order of their images' first references."""
    groups = defaultdict(list)
    for ref in refs:
        groups[ref.image_id].append(ref)
    return [ref for group in groups.values() for ref in group]


class _RefReader:
    """Turns the references of a set into records, or says what is wrong with one."""

    def __init__(
        self,
        dataset: RefCocoDataset,
        name: str,
        refs_path: str,
        instances: Instances,
        image_folder: str,
    ) -> None:
        self.dataset = dataset
        self.name = name
        self.refs_path = refs_path
        self.instances = instances
        self.image_folder = image_folder

    def records(self, ref: Ref) -> Iterator[dict]:
        image, instance = self.instances.of(ref, self.refs_path)
        counts = self.dataset.counts
        sentences = [sentence for sentence in ref.sentences if sentence.text]
        counts['blank_expressions'] += len(ref.sentences) - len(sentences)
        if not sentences:
            return
        region = self._region(ref, image, instance)
        shared = {
            'dataset': self.name,
            'split': ref.split,
            'img_id': str(ref.image_id),
            'img_path': self.image_folder + image.file_name,
            'height': image.height,
            'width': image.width,
            'regions': [] if region is None else [region],
            'links': [] if region is None else [(0, 0)],
            'ref_id': ref.ref_id,
            'ann_id': ref.ann_id,
        }
        sample_id = f'{self.name}_{ref.split}_{ref.ref_id}'
        if self.dataset.unit == 'ref':
            sentences = [expression(sentence) for sentence in sentences]
            counts['no_target'] += region is None
            yield {'sample_id': sample_id, **sentences[0], **shared, 'sentences': sentences}
            return
        for sentence in sentences:
            counts['no_target'] += region is None
            yield {'sample_id': f'{sample_id}_{sentence.sent_id}', **expression(sentence), **shared}

    def _region(self, ref: Ref, image: InstanceImage, instance: Instance | None) -> dict | None:
        if instance is None:
            return self._no_target(ref, 'it names no annotation')
        mask, box = instance.mask, instance.bbox
        if self.dataset.official:
            mask, box = self._official(ref, mask, box)
        try:
            area = mask_area(mask, (image.height, image.width)) if mask else 0
        except ValueError as error:
            self._refuse(ref, f'its mask is malformed ({error})', 'correct the annotation')
        if not area:
            return self._no_target(
                ref,
                f'its annotation has no pixel in the image of {image.height} x {image.width}',
            )
        x, y, width, height = box
        whole = (x, y, x + width, y + height)
        inside = (
            max(whole[0], 0.0),
            max(whole[1], 0.0),
            min(whole[2], float(image.width)),
            min(whole[3], float(image.height)),
        )
        if not (inside[0] < inside[2] and inside[1] < inside[3]):
            self._refuse(
                ref,
                f'its box {box} (x, y, width, height) has no area in the image of '
                f'{image.height} x {image.width}',
                'correct the annotation',
            )
        if self.dataset.official:
            inside = whole
        self.dataset.counts['clipped_boxes'] += inside != whole
        return {'mask': mask, 'bbox': inside, 'category_id': instance.category_id}

    def _official(self, ref: Ref, mask: list | dict, box: tuple) -> tuple[list, tuple]:
        if mask and (isinstance(mask, dict) or isinstance(mask[0], dict)):
            self._refuse(
                ref, 'official=True takes polygons, but its mask is a run-length code', 'leave it'
            )
        return mask[:1], tuple(float(int(side)) for side in box)

    def _no_target(self, ref: Ref, reason: str) -> None:
        if not self.dataset.allow_no_target:
            self._refuse(
                ref,
                f'{ref.sentences[0].text!r} has no target: {reason}',
                'correct the annotation, or set allow_no_target=True to keep such expressions '
                'and count them apart',
            )

    def _refuse(self, ref: Ref, problem: str, remedy: str):
        raise ValueError(
            f'{self.refs_path}: reference {ref.ref_id} (annotation {ref.ann_id} of '
            f'{self.instances.path}): {problem}; {remedy}'
        )


def expression(sentence: Sentence) -> dict:
    """``text`` and ``phrases`` of a record: the whole expression is its one phrase."""
    text = sentence.text
    return {
        'text': text,
        'phrases': [
            {'text': text, 'span': (0, len(text)), 'type': sentence.type, 'phrase_id': '0'}
        ],
    }
