"""The layout of ReferItGame in the refer API, which calls it RefCLEF.

Below the data set's folder::

    refclef/instances.json  refclef/refs(berkeley).p
    words.txt  class_names.txt  word_vectors.npz
"""

from pathlib import Path

from mmground.structures import encode_masks

from .base_format import ShapesImage
from .refcoco_format import RefCOCOFormat
from .word_files import write_word_files


class ReferItFormat(RefCOCOFormat):
    """Writes ReferItGame's files: short expressions, masks as run-length codes."""

    name = 'referit'
    folder = 'refclef'
    split_by = 'berkeley'
    test_by_kind = False

    def write_image(self, image: ShapesImage, root: Path) -> dict:
        """Refer to some things of one image; no file is written.

        Returns:
            ``image``, ``annotations`` and ``refs``, see :class:`RefCOCOFormat`.
        """
        record = super().write_image(image, root)
        for thing, annotation in enumerate(record['annotations']):
            mask = image.mask(image.scene.region_of_thing(thing))
            annotation['segmentation'] = encode_masks(mask[None])
        return record

    def write(self, records: dict[str, list[dict]], root: Path) -> None:
        """Write ``instances.json``, the refs file, and the files about words."""
        super().write(records, root)
        write_word_files(root)
