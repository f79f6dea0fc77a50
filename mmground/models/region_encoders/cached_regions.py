import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmground.structures import GroundingDataSample, image_geometries

from ..cache_keys import image_key
from .region_feature_cache import RegionFeatureCache

if TYPE_CHECKING:
    from ..grounders import Grounder


class CachedRegions:
    """Describes boxes of the images of a batch with the help of a cache.

    The backbone runs for images whose map is needed, and when it is: for proposals that the cache
    does not know yet, and for boxes that are no proposals unless the cache keeps maps. What is kept
    is rounded to half precision, and used so from the first time on, so that a step does not
    depend on what the cache knew.

    So that an entry does not depend on the other images of its batch either, every image is
    described on a canvas of its own, padded as if it came alone. Images of one size are computed
    together.

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
        self._cache = cache
        self._model = model
        self._inputs = inputs
        divisor = model.data_preprocessor.pad_size_divisor
        self._paths = {sample.image_index: sample.img_path for sample in data_samples}
        self._geometries = []
        self._images_of_canvas: dict[tuple[int, int], list[int]] = {}
        for index, geometry in enumerate(image_geometries(len(inputs), data_samples)):
            canvas = tuple(-(-area.stop // divisor) * divisor for area in geometry.image_area)
            self._geometries.append(geometry.on_canvas(canvas))
            self._images_of_canvas.setdefault(canvas, []).append(index)
        raw = model.data_preprocessor.raw_canvas(inputs)
        self._keys = [
            image_key(image, own) for image, own in zip(raw, self._geometries, strict=True)
        ]
        self._maps: dict[int, Tensor] = {}

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
        owners = image_index.cpu()
        rows = [(owners == index).nonzero()[:, 0] for index in range(len(self._inputs))]
        keys = self._region_keys(boxes, rows) if fixed else None
        described = boxes.new_zeros(len(boxes), self._model.region_encoder.out_channels)
        for images in self._images_of_canvas.values():
            unknown = []
            for index in images:
                found = self._cache.read(keys[index], 2, len(rows[index])) if fixed else None
                if found is not None:
                    described[rows[index]] = found.to(described)
                elif len(rows[index]):
                    unknown.append(index)
            if not unknown:
                continue
            counts = [len(rows[index]) for index in unknown]
            own = torch.cat([rows[index] for index in unknown])
            places = torch.arange(len(unknown)).repeat_interleave(torch.tensor(counts))
            maps = self._maps_of(unknown)
            features = self._model.describe_regions((maps,), boxes[own], places.to(image_index))
            if fixed:
                features = features.half()
                for index, values in zip(unknown, features.split(counts), strict=True):
                    self._cache.write(keys[index], values)
            described[own] = features.to(described)
        return described

    def _region_keys(self, boxes: Tensor, rows: list[Tensor]) -> list[str]:
        """What each image with its boxes is known by."""
        boxes = boxes.detach().float().cpu()
        keys = []
        for index, own in enumerate(rows):
            digest = hashlib.blake2b(self._keys[index].encode(), digest_size=16)
            digest.update(boxes[own].numpy())
            keys.append(digest.hexdigest())
            self._cache.check_form(self._paths[index], self._geometries[index].flip, keys[-1])
        return keys

    def _maps_of(self, images: list[int]) -> Tensor:
        """The last maps of images with a canvas of one size."""
        unknown = []
        for index in images:
            if index in self._maps:
                continue
            found = self._cache.read(self._keys[index], 3) if self._cache.keep_maps else None
            if found is None:
                unknown.append(index)
            else:
                self._maps[index] = found.to(self._inputs)
        if unknown:
            height, width = self._geometries[unknown[0]].canvas_shape
            maps = self._model.encode_image(self._inputs[unknown, :, :height, :width])[-1]
            if self._cache.keep_maps:
                for index, own in zip(unknown, maps.half(), strict=True):
                    self._cache.write(self._keys[index], own)
                maps = maps.half().to(maps)
            self._maps.update(zip(unknown, maps, strict=True))
        return torch.stack([self._maps[index] for index in images])
