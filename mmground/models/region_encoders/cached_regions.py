import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from mmground.structures import GroundingDataSample

from ..cache_keys import image_key
from .region_feature_cache import RegionFeatureCache
from .separate_regions import SeparateRegions

if TYPE_CHECKING:
    from ..grounders import Grounder


class CachedRegions(SeparateRegions):
    """Describes boxes of the images of a batch with the help of a cache.

    The backbone runs for images whose map is needed, and when it is: for proposals that the cache
    does not know yet, and for boxes that are no proposals unless the cache keeps maps. What is kept
    is rounded to half precision, and used so from the first time on, so that a step does not
    depend on what the cache knew; nor does an entry on the other images of its batch.

    Args:
        cache: The cache, open.
        model: Its frozen image parts make the maps, and its region encoder describes boxes.
        inputs: The unique images of the batch, normalised. Shape (B, 3, H, W).
        data_samples: Samples with ``image_index``, ``geometry`` and ``img_path``.
    """

    def __init__(
        self,
        cache: RegionFeatureCache,
        model: 'Grounder',
        inputs: Tensor,
        data_samples: Sequence[GroundingDataSample],
    ) -> None:
        super().__init__(model, inputs, data_samples)
        self._cache = cache
        self._paths = {sample.image_index: sample.img_path for sample in data_samples}
        raw = model.data_preprocessor.raw_canvas(inputs)
        self._keys = [
            image_key(image, own) for image, own in zip(raw, self._geometries, strict=True)
        ]

    def __call__(self, boxes: Tensor, image_index: Tensor, fixed: bool = False) -> Tensor:
        """Describe boxes.

        Args:
            boxes: xyxy in pixels of the canvas. Shape (n, 4).
            image_index: The image of each. Shape (n, ).
            fixed: Whether an image comes with the same boxes each time, its proposals, so that
                their features are kept.

        Returns:
            Shape (n, D).
        """
        if not fixed:
            return super().__call__(boxes, image_index)
        rows = self._rows(image_index)
        keys = self._region_keys(boxes, rows)
        described = boxes.new_zeros(len(boxes), self._model.region_encoder.out_channels)
        unknown = {}
        for index, own in rows.items():
            found = self._cache.read(keys[index], 2, len(own))
            if found is None:
                unknown[index] = own
            else:
                described[own] = found.to(described)
        for index, features in self._compute(boxes, unknown):
            features = features.half()
            self._cache.write(keys[index], features)
            described[rows[index]] = features.to(described)
        return described

    def _region_keys(self, boxes: Tensor, rows: dict[int, Tensor]) -> dict[int, str]:
        """What each image with its boxes is known by."""
        boxes = boxes.detach().float().cpu()
        keys = {}
        for index, own in rows.items():
            digest = hashlib.blake2b(self._keys[index].encode(), digest_size=16)
            digest.update(boxes[own].numpy())
            keys[index] = digest.hexdigest()
            self._cache.check_form(self._paths[index], self._geometries[index].flip, keys[index])
        return keys

    def _encode(self, images: list[int]) -> list[Tensor]:
        if not self._cache.keep_maps:
            return super()._encode(images)
        maps = {}
        for index in images:
            found = self._cache.read(self._keys[index], 3)
            if found is not None:
                maps[index] = found.to(self._inputs)
        unknown = [index for index in images if index not in maps]
        for index, own in zip(unknown, super()._encode(unknown) if unknown else (), strict=True):
            self._cache.write(self._keys[index], own.half())
            maps[index] = own.half().to(own)
        return [maps[index] for index in images]
