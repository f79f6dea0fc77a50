"""The COCO detection layout: things with boxes and polygons.

Below the data set's folder::

    annotations/instances_{split}2017.json

It has two keys more than COCO's: ``attributes``, whose entries have an ``id`` and a ``name``, and
``attribute_ids`` of each annotation.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from .base_format import BaseFormat, ShapesImage, mask_box
from .categories import (
    ATTRIBUTE_IDS,
    ATTRIBUTES,
    CATEGORY_IDS,
    DESCRIPTION,
    THING_CATEGORIES,
)


class COCOFormat(BaseFormat):
    """Writes COCO's ``instances_*.json``, on which detectors are trained."""

    name = 'coco'
    splits = ('train', 'val')

    def write_image(self, image: ShapesImage, root: Path) -> dict:
        """Annotate one image; no file is written.

        Returns:
            ``image`` and ``annotations``, entries of the COCO file.
        """
        return dict(
            image=image_entry(image, f'{image.image_id:012d}.jpg'),
            annotations=[
                dict(
                    entry,
                    attribute_ids=[ATTRIBUTE_IDS[thing.color], ATTRIBUTE_IDS[thing.texture]],
                )
                for entry, thing in zip(thing_annotations(image), image.scene.things, strict=True)
            ],
        )

    def write(self, records: dict[str, list[dict]], root: Path) -> None:
        """Write ``instances_{split}2017.json`` of each split."""
        folder = root / 'annotations'
        folder.mkdir(exist_ok=True)
        for split, own in records.items():
            content = dict(instances(own), attributes=list(ATTRIBUTES))
            (folder / f'instances_{split}2017.json').write_text(json.dumps(content))

    def summarize(self, records: list[dict]) -> dict[str, int | float]:
        """Sizes."""
        things = sum(len(record['annotations']) for record in records)
        return dict(images=len(records), things=things)


def image_entry(image: ShapesImage, file_name: str) -> dict:
    """An entry of ``images`` of a COCO file."""
    height, width = image.rendering.regions.shape
    return dict(id=image.image_id, file_name=file_name, height=height, width=width, license=0)


def instances(records: list[dict]) -> dict:
    """The content of an ``instances*.json``.

    Args:
        records: Per image the entries ``image`` and ``annotations``.
    """
    return dict(
        info=dict(description=DESCRIPTION),
        licenses=[],
        images=[record['image'] for record in records],
        annotations=[entry for record in records for entry in record['annotations']],
        categories=list(THING_CATEGORIES),
    )


def annotation_id(image: ShapesImage, thing: int) -> int:
    """Id of a thing's annotation, that no other thing of any image has."""
    # A scene has at most eight things.
    return 10 * image.image_id + thing + 1


def thing_annotations(image: ShapesImage) -> list[dict]:
    """The entries of ``annotations`` of a COCO file that belong to one image.

    Returns:
        Per thing a dict, ``bbox`` (x, y, width, height) around the visible pixels.
    """
    found = []
    for thing, own in enumerate(image.scene.things):
        mask = image.mask(image.scene.region_of_thing(thing))
        found.append(
            dict(
                id=annotation_id(image, thing),
                image_id=image.image_id,
                category_id=CATEGORY_IDS[own.kind],
                segmentation=mask_polygons(mask),
                area=float(mask.sum()),
                bbox=[float(side) for side in mask_box(mask)],
                iscrowd=0,
            )
        )
    return found


def mask_polygons(mask: np.ndarray) -> list[list[float]]:
    """Polygons whose union, drawn by COCO's rules, is exactly the mask.

    A polygon has no holes, so a part with a hole is cut in two through it.

    Args:
        mask: Boolean, shape (H, W), with at least one pixel.

    Returns:
        Polygons ``[x1, y1, x2, y2, ...]`` in pixels, pixel (0, 0) reaching from 0 to 1.
    """
    # Contours run through pixel centres. Of four pixels in the place of each they keep a
    # quarter of a pixel inside the edge, so that they enclose the centres of the mask's pixels.
    double = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, hierarchy = cv2.findContours(double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parents = hierarchy[0, :, 3]
    holes = [contour for contour, parent in zip(contours, parents, strict=True) if parent >= 0]
    if not holes:
        return [((contour + 0.5) / 2).ravel().tolist() for contour in contours]
    x, _, width, _ = cv2.boundingRect(holes[0])
    cut = (x + width // 2 + 1) // 2
    columns = np.arange(mask.shape[1]) < cut
    return mask_polygons(mask & columns) + mask_polygons(mask & ~columns)
