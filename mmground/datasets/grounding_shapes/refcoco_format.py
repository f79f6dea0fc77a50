"""The layout of the refer API: RefCOCO, RefCOCO+ and RefCOCOg.

Below the data set's folder, ``NAME`` being ``refcoco``, ``refcoco+`` or ``refcocog``::

    NAME/instances.json
    NAME/refs(unc).p            refs(umd).p for RefCOCOg

Images are named relative to ``images/``.
"""

import json
import pickle
from collections import Counter
from pathlib import Path

from .base_format import BaseFormat, ShapesImage
from .categories import CATEGORY_IDS
from .coco_format import (
    COCOFormat,
    annotation_id,
    image_entry,
    instances,
    thing_annotations,
)
from .expressions import FLAVOURS, TYPES, refer
from .lexicon import THINGS

TEST_A_KINDS = frozenset({'ball', 'box', 'triangle', 'cross', 'ring', 'diamond'})
"""Kinds of things in testA, the geometric figures, as people are in RefCOCO's; the others, the
pictorial ones, are in testB."""

TEST_KINDS = {'testA': TEST_A_KINDS, 'testB': frozenset(THINGS) - TEST_A_KINDS}
"""Test split -> kinds of the things that its expressions are of."""


class RefCOCOFormat(BaseFormat):
    """Writes RefCOCO's files; the others of the family differ in the expressions."""

    name = 'refcoco'
    splits = ('train', 'val', 'test')
    companions = (COCOFormat.name,)

    split_by = 'unc'
    test_by_kind = True
    folder: str | None = None
    """Its folder, None for that of the name."""

    def write_image(self, image: ShapesImage, root: Path) -> dict:
        """Refer to some things of one image; no file is written.

        Returns:
            ``image`` and ``annotations``, entries of ``instances.json``; ``refs``, entries of
            the refs file without their running numbers.
        """
        folder = f'{image.split}2017'
        stem = f'{image.image_id:012d}'
        kinds = [thing.kind for thing in image.scene.things]
        split = self._ref_split(image.split, kinds)
        pairs = refer(
            image.describer,
            FLAVOURS[self.name],
            image.rng(self.name),
            TEST_KINDS.get(split, frozenset(THINGS)),
        )
        return dict(
            image=image_entry(image, f'{folder}/{stem}.jpg'),
            annotations=thing_annotations(image),
            refs=[
                dict(
                    ann_id=annotation_id(image, thing),
                    image_id=image.image_id,
                    category_id=CATEGORY_IDS[kinds[thing]],
                    split=split,
                    # No such file: the real sets name their images so, too.
                    file_name=f'{folder}/{stem}_{thing}.jpg',
                    sentences=[
                        dict(
                            raw=self._raw(expression.text),
                            sent=expression.text,
                            tokens=expression.text.split(),
                            type=expression.type,
                        )
                        for expression in expressions
                    ],
                )
                for thing, expressions in pairs
            ],
        )

    def _ref_split(self, split: str, kinds: list[str]) -> str:
        """The split of the refs in an image: an image is in testA or in testB, by what it shows
        more of."""
        if split != 'test' or not self.test_by_kind:
            return split
        return max(TEST_KINDS, key=lambda own: sum(kind in TEST_KINDS[own] for kind in kinds))

    def _raw(self, text: str) -> str:
        """The text as someone would have typed it."""
        return f'{text[0].upper()}{text[1:]}.' if FLAVOURS[self.name].full else text

    def write(self, records: dict[str, list[dict]], root: Path) -> None:
        """Write ``instances.json`` and the refs file, of the images that have refs."""
        used = [record for own in records.values() for record in own if record['refs']]
        refs, sent_id = [], 0
        for ref_id, ref in enumerate(ref for record in used for ref in record['refs']):
            sentences = [
                sentence | dict(sent_id=sent_id + number)
                for number, sentence in enumerate(ref['sentences'])
            ]
            sent_id += len(sentences)
            sent_ids = [sentence['sent_id'] for sentence in sentences]
            refs.append(ref | dict(ref_id=ref_id, sent_ids=sent_ids, sentences=sentences))
        folder = root / (self.folder or self.name)
        folder.mkdir()
        (folder / 'instances.json').write_text(json.dumps(instances(used)))
        with open(folder / f'refs({self.split_by}).p', 'wb') as file:
            # A pickle shows which equal strings are one object, which depends on the processes
            # that made them; after JSON it does not.
            pickle.dump(json.loads(json.dumps(refs)), file, protocol=2)

    def summarize(self, records: list[dict]) -> dict[str, int | float]:
        """Sizes, the mix of types, and what can be had without reading the expression.

        ``unique_kind_share`` is the share of expressions that the name of the kind would
        resolve by itself, because the picture has no other thing of that kind.
        ``random_thing_share`` is the expected share of hits of a guess among the things of the
        picture, and ``majority_thing_share`` that of the best guess without the text: always
        the thing of the picture that most expressions are of.
        """
        counts = Counter()
        for record in records:
            things = record['annotations']
            kinds = Counter(entry['category_id'] for entry in things)
            numbers = [len(ref['sentences']) for ref in record['refs']]
            counts['refs'] += len(numbers)
            counts['expressions'] += sum(numbers)
            counts['random'] += sum(numbers) / len(things)
            counts['majority'] += max(numbers, default=0)
            for ref, number in zip(record['refs'], numbers, strict=True):
                counts['unique'] += number if kinds[ref['category_id']] == 1 else 0
                for sentence in ref['sentences']:
                    counts['words'] += len(sentence['tokens'])
                    counts[sentence['type']] += 1

        def per_expression(name: str, digits: int = 3) -> float:
            return round(counts[name] / max(counts['expressions'], 1), digits)

        return dict(
            images=len(records),
            refs=counts['refs'],
            expressions=counts['expressions'],
            words_per_expression=per_expression('words', 2),
            **{f'{kind}_share': per_expression(kind) for kind in TYPES},
            unique_kind_share=per_expression('unique'),
            random_thing_share=per_expression('random'),
            majority_thing_share=per_expression('majority'),
        )

    @property
    def settings(self) -> dict:
        """The mix of types that is aimed at, and the kinds of testA."""
        settings = dict(mix=FLAVOURS[self.name].mix)
        if self.test_by_kind:
            settings['test_kinds'] = {split: sorted(kinds) for split, kinds in TEST_KINDS.items()}
        return settings


class RefCOCOPlusFormat(RefCOCOFormat):
    """Writes RefCOCO+'s files: expressions without words of location."""

    name = 'refcoco+'


class RefCOCOgFormat(RefCOCOFormat):
    """Writes RefCOCOg's files, split as by UMD: long expressions, one test split."""

    name = 'refcocog'
    split_by = 'umd'
    test_by_kind = False
