import gc
import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmground.utils.randomness import seeded_generators

from .packed_records import PackedRecords
from .samplers import SeededIndex

_FILTERS = ('img_ids', 'sample_ids')
_CONTROLS = (None, 'shuffled_text', 'shuffled_in_image')


class BaseGroundingDataset(BaseDataset):
    """What the data sets of all grounding tasks share: the record, its check, a control.

    A subclass implements :meth:`load_records`. Every record is one sample of its
    benchmark, a dict of

    - ``sample_id`` (str): Unique in the data set.
    - ``img_id``, ``img_path`` (str): The image; several records may share it.
    - ``height``, ``width`` (int): Size of the original image in pixels, where the
      annotations state it.
    - ``text`` (str): The narrative, expression or caption.
    - ``phrases`` (list[dict]): At least one, with ``text``, ``span`` (the character
      range ``(start, end)`` of the phrase in ``text``), ``type`` and ``phrase_id``.
    - ``regions`` (list[dict]): With ``bbox``, (x1, y1, x2, y2) in pixels of the
      original image, or what :class:`LoadGroundingMasks` makes a mask of: ``mask`` or
      ``segment_id``; and what else is known of the region: ``category_id``,
      ``is_thing``, ``area``.
    - ``links`` (list[tuple[int, int]]): Pairs of indices (phrase, region). A plural has
      several, and two phrases may share a region.
    - ``relations`` (list[tuple[int, int, list[int]]]), of data sets of phrase grounding: subject
      and object, indices of phrases, and the predicates that hold between them, of which there
      may be none; each pair once; with ``num_predicates`` (int), how many are told apart.

    Args:
        control: None, or ``'shuffled_text'`` for the *text-blind control*: an evaluation
            in which no image keeps its own words, so what remains of the score does not
            come from the text. The records keep their images, regions, links, phrase
            types and phrase count, but ``text`` and the phrases' ``text`` and ``span``
            are those of a record of another image: of one with as many phrases; if there
            is none, of one with the next larger count, whose first phrases are used; and
            if the record itself has more phrases than any other image's, of one with the
            largest count, whose phrases are used again from the first on. The assignment
            is the same in every run, and is made before ``filter_cfg`` and ``indices``
            apply, so a part of the data set sees the same texts as the whole. The donor's
            id stands in the record's ``text_sample_id``. ``'shuffled_in_image'``, for referring
            expressions: a record reads an expression of another target of its own image, so
            that what the text says of the image at large stays true; where the image has no
            other target to spare, one of another image as above.
        filter_cfg: ``img_ids`` and/or ``sample_ids``: lists of what to keep.
        backend_args: File backend of :mod:`mmengine.fileio` for annotation files.
        **kwargs: See :class:`mmengine.dataset.BaseDataset`.

    Raises:
        ValueError: If a record is inconsistent (the message names file and record), or
            ``control`` or ``filter_cfg`` are not as above.
    """

    def __init__(
        self,
        *args,
        control: str | None = None,
        filter_cfg: dict | None = None,
        backend_args: dict | None = None,
        **kwargs,
    ):
        if control not in _CONTROLS:
            raise ValueError(f'control must be one of {_CONTROLS}, got {control!r}')
        unknown = set(filter_cfg or ()) - set(_FILTERS)
        if unknown:
            raise ValueError(f'filter_cfg takes the keys {_FILTERS}, got {sorted(unknown)}')
        self.control = control
        self.backend_args = backend_args
        super().__init__(*args, filter_cfg=filter_cfg, **kwargs)

    def __getitem__(self, idx: int) -> dict:
        """A sample as the pipeline leaves it.

        Args:
            idx: Its index. With a :class:`SeededIndex`, what the pipeline draws depends on
                the index and its seed only.
        """
        if not isinstance(idx, SeededIndex):
            return super().__getitem__(idx)
        with seeded_generators(*idx.entropy):
            return super().__getitem__(int(idx))

    def load_records(self) -> Iterable[dict]:
        """Read the annotation files. To be implemented by a data set.

        Returns:
            The records, as described in the class; an iterator, where they are many.
        """
        raise NotImplementedError

    def load_data_list(self) -> Sequence[dict]:
        """Read the records, check each, and apply ``control``.

        Returns:
            One dict per sample.
        """
        with _garbage_collector_off():
            records = self._load_checked_records()
            if self.control:
                records = PackedRecords(self._shuffle_text(records))
        return records if self.serialize_data else list(records)

    def _load_checked_records(self) -> PackedRecords:
        # Packed one by one: all of them as objects would be gigabytes.
        records, seen = PackedRecords(), set()
        for record in self.load_records():
            check_record(record, self.ann_file)
            if record['sample_id'] in seen:
                raise ValueError(
                    f'{self.ann_file}: sample_id {record["sample_id"]!r} occurs twice; '
                    'metrics would count one of the samples only'
                )
            seen.add(record['sample_id'])
            records.append(record)
        if not records:
            raise ValueError(
                f'{self.ann_file}: no sample is left to use; check that the file holds the '
                'split that you mean'
            )
        return records

    def _serialize_data(self) -> tuple[np.ndarray, np.ndarray]:
        if not isinstance(self.data_list, PackedRecords):
            return super()._serialize_data()
        records, self.data_list = self.data_list, []
        return records.arrays()

    def filter_data(self) -> Sequence[dict]:
        """Keep what ``filter_cfg`` names.

        Raises:
            ValueError: If it names an image or a sample that the data set lacks.
        """
        records = self.data_list
        if not self.filter_cfg:
            return records
        for key, field in (('img_ids', 'img_id'), ('sample_ids', 'sample_id')):
            wanted = self.filter_cfg.get(key)
            if wanted is None:
                continue
            wanted = {str(name) for name in wanted}
            missing = wanted - {record[field] for record in self.data_list}
            if missing:
                raise ValueError(
                    f'{self.ann_file}: filter_cfg[{key!r}] names {sorted(missing)[:5]}, which '
                    'the data set does not hold'
                )
            records = [record for record in records if record[field] in wanted]
        if not records:
            raise ValueError(f'{self.ann_file}: no sample is left by filter_cfg {self.filter_cfg}')
        return records

    def _shuffle_text(self, records: Sequence[dict]) -> Iterator[dict]:
        image_ids, counts, targets = [], [], []
        for record in records:
            image_ids.append(record['img_id'])
            counts.append(len(record['phrases']))
            targets.append(record.get('ann_id'))
        donors = text_donors(image_ids, counts)
        if self.control == 'shuffled_in_image':
            if None in targets:
                raise ValueError(
                    f'{self.ann_file}: control shuffled_in_image needs to know which samples have '
                    'the same target: their ann_id'
                )
            inside = text_donors_in_image(image_ids, targets)
            donors = [
                other if own is None else own for own, other in zip(inside, donors, strict=True)
            ]
        larger = sum(counts[donor] > counts[i] for i, donor in enumerate(donors))
        smaller = sum(counts[donor] < counts[i] for i, donor in enumerate(donors))
        same = sum(image_ids[donor] == image_ids[i] for i, donor in enumerate(donors))
        print_log(
            f'{self.ann_file}: control {self.control}: {same} of {len(records)} samples read a '
            'text about another target of their image, the others the text of another image '
            f'({larger} of a text with more phrases, {smaller} of one with fewer)',
            logger='current',
        )
        for record, donor in zip(records, (records[i] for i in donors), strict=True):
            words = donor['phrases']
            phrases = [
                {
                    **phrase,
                    'text': words[i % len(words)]['text'],
                    'span': words[i % len(words)]['span'],
                }
                for i, phrase in enumerate(record['phrases'])
            ]
            shuffled = {
                **record,
                'text': donor['text'],
                'phrases': phrases,
                'text_sample_id': donor['sample_id'],
            }
            if 'relations' in record:
                # They are the text's.
                shuffled['relations'] = [
                    relation for relation in donor['relations'] if max(relation[:2]) < len(phrases)
                ]
            yield shuffled


@contextmanager
def _garbage_collector_off() -> Iterator[None]:
    """Reading annotations makes millions of objects, none of them in a cycle: the cyclic
    collector would walk over them again and again, for most of the loading time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def check_record(record: dict, source: str) -> None:
    """Refuse a record that would train or score something else than it says.

    Args:
        record: See :class:`BaseGroundingDataset`.
        source: The annotation file, for the message.

    Raises:
        ValueError: If there is no phrase, a phrase is not the text under its span, a box
            is degenerate, a link is repeated or points to nothing, or a relation is repeated, is
            not between two phrases or has an unknown predicate.
    """

    def refuse(problem: str):
        raise ValueError(
            f'{source}: sample {record.get("sample_id")!r}: {problem}; correct the annotation'
        )

    text, phrases, regions = record['text'], record['phrases'], record['regions']
    if not phrases:
        refuse('there is no phrase to ground')
    for i, phrase in enumerate(phrases):
        start, end = phrase['span']
        if not 0 <= start < end <= len(text):
            refuse(
                f'phrase {i} ({phrase["text"]!r}) has the span ({start}, {end}), which is not '
                f'a range of the text of {len(text)} characters'
            )
        if text[start:end] != phrase['text']:
            refuse(
                f'phrase {i} is {phrase["text"]!r}, but its span ({start}, {end}) of the text '
                f'is {text[start:end]!r}'
            )
    for i, region in enumerate(regions):
        if 'bbox' not in region:
            continue
        x1, y1, x2, y2 = region['bbox']
        # Written so that NaN fails as well.
        if not (x1 < x2 and y1 < y2):
            refuse(f'region {i} has the box ({x1}, {y1}, {x2}, {y2}) (xyxy), which is empty')
    for phrase, region in record['links']:
        if not (0 <= phrase < len(phrases) and 0 <= region < len(regions)):
            refuse(
                f'the link ({phrase}, {region}) points outside its {len(phrases)} phrases and '
                f'{len(regions)} regions'
            )
    if len(set(record['links'])) < len(record['links']):
        refuse('a link from a phrase to a region is repeated')
    relations = record.get('relations', ())
    if len({tuple(relation[:2]) for relation in relations}) < len(relations):
        refuse('a relation between two phrases is repeated; one has all the predicates')
    for subject, object_, predicates in relations:
        if not (0 <= subject < len(phrases) and 0 <= object_ < len(phrases)) or subject == object_:
            refuse(f'the relation ({subject}, {object_}) is not between two of its phrases')
        if not all(0 <= predicate < record['num_predicates'] for predicate in predicates):
            refuse(
                f'the relation ({subject}, {object_}) has the predicates {predicates}, of which '
                f'there are {record["num_predicates"]}'
            )


def text_donors(img_ids: Sequence[str], phrase_counts: Sequence[int]) -> list[int]:
    """Whose text each sample reads in the text-blind control.

    Samples with equally many phrases stand in a line, image by image, and the line is
    shifted by the largest number of samples that one image has in it. So every text is
    used once and by another image, unless one image has more than half of the line. Who
    meets its own image then takes a text of another image with the next larger count of
    phrases or, where there is none, the largest. The order of the images is random but
    fixed.

    Args:
        img_ids: The samples' images.
        phrase_counts: The samples' numbers of phrases.

    Returns:
        Per sample the index of the sample whose text it reads. It is of another image.

    Raises:
        ValueError: If all samples are of one image.
    """
    images = sorted(set(img_ids))
    if len(images) < 2:
        raise ValueError('shuffling texts among images needs samples of at least two images')
    random.Random(0).shuffle(images)
    rank = {image: i for i, image in enumerate(images)}
    lines = defaultdict(list)
    for i in sorted(range(len(img_ids)), key=lambda i: (rank[img_ids[i]], i)):
        lines[phrase_counts[i]].append(i)

    donors = [-1] * len(img_ids)
    for line in lines.values():
        for i, donor in _shifted(line, img_ids):
            donors[i] = donor

    counts = sorted(lines)
    for i, donor in enumerate(donors):
        if img_ids[donor] == img_ids[i]:
            larger = counts[bisect_left(counts, phrase_counts[i]) :]
            smaller = counts[: bisect_left(counts, phrase_counts[i])]
            donors[i] = next(
                other
                for count in (*larger, *reversed(smaller))
                for other in lines[count]
                if img_ids[other] != img_ids[i]
            )
    return donors


def text_donors_in_image(img_ids: Sequence[str], targets: Sequence[int | str]) -> list[int | None]:
    """Whose text each sample reads, if its image has an expression of another target to spare.

    The samples of an image stand in a line, target by target, which is shifted as in
    :func:`text_donors`: every text is used once, unless one target has more than half of them.

    Args:
        img_ids: The samples' images.
        targets: What the samples refer to.

    Returns:
        Per sample the index of a sample of the same image and another target, or None.
    """
    lines = defaultdict(list)
    for i in sorted(range(len(img_ids)), key=lambda i: (str(targets[i]), i)):
        lines[img_ids[i]].append(i)
    donors: list[int | None] = [None] * len(img_ids)
    for line in lines.values():
        for i, donor in _shifted(line, targets):
            if targets[donor] != targets[i]:
                donors[i] = donor
    return donors


def _shifted(line: Sequence[int], groups: Sequence) -> Iterator[tuple[int, int]]:
    """Pairs of the elements of a line, which stand group by group, and those that are as far behind
    them, around the end, as the largest group is long."""
    shift = max(Counter(groups[i] for i in line).values())
    for place, i in enumerate(line):
        yield i, line[(place + shift) % len(line)]
