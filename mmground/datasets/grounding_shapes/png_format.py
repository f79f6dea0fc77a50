"""The Panoptic Narrative Grounding layout: COCO panoptic files and narratives.

Below the data set's folder::

    annotations/png_coco_{split}2017.json
    annotations/panoptic_{split}2017.json
    annotations/panoptic_segmentation/{split}2017/%012d.png
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from mmground.structures import encode_segment_ids

from .base_format import BaseFormat, ShapesImage, mask_box
from .categories import CATEGORIES, CATEGORY_IDS, DESCRIPTION
from .narratives import Narrative, narrate
from .scene import Scene

_NARRATIVES_PER_IMAGE = (0.6, 0.3, 0.1)
"""Shares of images with one, two and three narratives."""


class PNGFormat(BaseFormat):
    """Writes the files of the PNG benchmark (``png_coco_*.json`` over COCO panoptic)."""

    name = 'png'
    splits = ('train', 'val')

    def prepare(self, split: str, root: Path) -> None:
        """Make the folder of the panoptic PNGs."""
        _panoptic_folder(split, root).mkdir(parents=True)

    def write_image(self, image: ShapesImage, root: Path) -> dict:
        """Write the panoptic PNG.

        Returns:
            ``image`` and ``annotation``, entries of the COCO panoptic file; ``narratives``,
            entries of ``png_coco_*.json``; ``counts`` for :meth:`summarize`.
        """
        rng = image.rng(self.name)
        segment_ids = _draw_segment_ids(len(image.scene.regions), rng)
        stem = f'{image.image_id:012d}'
        folder = _panoptic_folder(image.split, root)
        Image.fromarray(encode_segment_ids(segment_ids[image.rendering.regions])).save(
            folder / f'{stem}.png'
        )
        height, width = image.rendering.regions.shape
        narratives = _narrate_variously(image, rng)
        return dict(
            image=dict(
                id=image.image_id, file_name=f'{stem}.jpg', height=height, width=width, license=0
            ),
            annotation=dict(
                image_id=image.image_id,
                file_name=f'{stem}.png',
                segments_info=_segments_info(image, segment_ids),
            ),
            narratives=[
                _narrative_entry(narrative, image.image_id, segment_ids, int(rng.integers(100)))
                for narrative in narratives
            ],
            counts=_count(image.scene, narratives),
        )

    def write(self, records: dict[str, list[dict]], root: Path) -> None:
        """Write ``panoptic_{split}2017.json`` and ``png_coco_{split}2017.json``."""
        annotations = root / 'annotations'
        for split, own in records.items():
            panoptic = dict(
                info=dict(description=DESCRIPTION),
                licenses=[],
                images=[record['image'] for record in own],
                annotations=[record['annotation'] for record in own],
                categories=list(CATEGORIES),
            )
            narratives = [entry for record in own for entry in record['narratives']]
            (annotations / f'panoptic_{split}2017.json').write_text(json.dumps(panoptic))
            (annotations / f'png_coco_{split}2017.json').write_text(json.dumps(narratives))

    def summarize(self, records: list[dict]) -> dict[str, int | float]:
        """Sizes, and shares of phrases by what they ask for.

        ``unique_kind_share`` is the share of thing phrases that the name of the kind would
        resolve by itself, because the picture has no other thing of that kind; the others
        need colour, size, texture, place or relation.
        """
        counts = sum((record['counts'] for record in records), Counter())
        phrases, things = max(counts['phrases'], 1), max(counts['things'], 1)
        return dict(
            images=len(records),
            narratives=counts['narratives'],
            grounded_phrases=counts['phrases'],
            phrases_per_narrative=round(counts['phrases'] / max(counts['narratives'], 1), 2),
            thing_share=round(counts['things'] / phrases, 3),
            stuff_share=round(1 - counts['things'] / phrases, 3),
            plural_share=round(counts['plurals'] / phrases, 3),
            unique_kind_share=round(counts['unique_kinds'] / things, 3),
        )


def _panoptic_folder(split: str, root: Path) -> Path:
    return root / 'annotations' / 'panoptic_segmentation' / f'{split}2017'


def _draw_segment_ids(count: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct ids of up to 24 bits, as COCO's; never one that fits a single channel."""
    while True:
        ids = rng.integers(256, 2**24, count)
        if len(np.unique(ids)) == count:
            return ids


def _segments_info(image: ShapesImage, segment_ids: np.ndarray) -> list[dict]:
    """COCO panoptic segments in the order of the regions; area and bbox of visible pixels."""
    segments = []
    for number, region in enumerate(image.scene.regions):
        mask = image.mask(number)
        segments.append(
            dict(
                id=int(segment_ids[number]),
                category_id=CATEGORY_IDS[region.kind],
                area=int(mask.sum()),
                bbox=mask_box(mask),
                iscrowd=0,
            )
        )
    return segments


def _narrate_variously(image: ShapesImage, rng: np.random.Generator) -> list[Narrative]:
    """One to three narratives that differ in text."""
    wanted = 1 + rng.choice(len(_NARRATIVES_PER_IMAGE), p=_NARRATIVES_PER_IMAGE)
    found: dict[str, Narrative] = {}
    while len(found) < wanted:
        narrative = narrate(image.scene, rng, image.describer)
        found.setdefault(narrative.text, narrative)
    return list(found.values())


def _narrative_entry(
    narrative: Narrative, image_id: int, segment_ids: np.ndarray, annotator_id: int
) -> dict:
    return dict(
        annotator_id=annotator_id,
        image_id=str(image_id),
        caption=narrative.text,
        segments=[
            dict(
                utterance=chunk.text.lower(),
                segment_ids=[str(segment_ids[region]) for region in chunk.regions],
                noun=chunk.noun,
                plural=len(chunk.regions) > 1,
            )
            for chunk in narrative.chunks
        ],
    )


def _count(scene: Scene, narratives: list[Narrative]) -> Counter:
    counts = Counter(narratives=len(narratives))
    kinds = Counter(thing.kind for thing in scene.things)
    for narrative in narratives:
        for chunk in narrative.grounded:
            counts['phrases'] += 1
            counts['plurals'] += len(chunk.regions) > 1
            if scene.is_thing(chunk.regions[0]):
                counts['things'] += 1
                named = {scene.regions[region].kind for region in chunk.regions}
                counts['unique_kinds'] += len(named) == 1 and kinds[named.pop()] == len(
                    chunk.regions
                )
    return counts
