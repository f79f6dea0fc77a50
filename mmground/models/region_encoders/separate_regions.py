from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmground.structures import GroundingDataSample, image_geometries

if TYPE_CHECKING:
    from ..grounders import Grounder


class SeparateRegions:
    """Describes boxes of the images of a batch as if each image came alone.

    Every image is described on a canvas of its own, so that the padding of the batch does not reach
    its features, and they do not depend on the other images. Images with a canvas of one size are
    computed together. The backbone runs when a map is first needed.

    Args:
        model: Its image parts make the maps, and its region encoder describes boxes.
        inputs: The unique images of the batch, normalised. Shape (B, 3, H, W).
        data_samples: Samples with ``image_index`` and ``geometry``.
    """

    def __init__(
        self, model: 'Grounder', inputs: Tensor, data_samples: Sequence[GroundingDataSample]
    ) -> None:
        self._model = model
        self._inputs = inputs
        divisor = model.data_preprocessor.pad_size_divisor
        self._geometries = []
        self._images_of_canvas: dict[tuple[int, int], list[int]] = {}
        for index, geometry in enumerate(image_geometries(len(inputs), data_samples)):
            canvas = geometry.own_canvas(divisor)
            self._geometries.append(geometry.on_canvas(canvas))
            self._images_of_canvas.setdefault(canvas, []).append(index)
        self._maps: dict[int, Tensor] = {}

    def __call__(self, boxes: Tensor, image_index: Tensor, fixed: bool = False) -> Tensor:
        """Describe boxes.

        Args:
            boxes: xyxy in pixels of the canvas. Shape (n, 4).
            image_index: The image of each. Shape (n, ).
            fixed: Whether an image comes with the same boxes each time, its proposals. It makes a
                difference to :class:`CachedRegions` alone.

        Returns:
            Shape (n, D).
        """
        rows = self._rows(image_index)
        described = boxes.new_zeros(len(boxes), self._model.region_encoder.out_channels)
        for index, features in self._compute(boxes, rows):
            described[rows[index]] = features.to(described)
        return described

    def _rows(self, image_index: Tensor) -> dict[int, Tensor]:
        """The boxes of each image that has any."""
        owners = image_index.cpu()
        rows = {index: (owners == index).nonzero()[:, 0] for index in range(len(self._inputs))}
        return {index: own for index, own in rows.items() if len(own)}

    def _compute(self, boxes: Tensor, rows: dict[int, Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Features of the boxes of some images, image by image."""
        for images in self._images_of_canvas.values():
            used = [index for index in images if index in rows]
            if not used:
                continue
            counts = [len(rows[index]) for index in used]
            own = torch.cat([rows[index] for index in used])
            places = torch.arange(len(used)).repeat_interleave(torch.tensor(counts))
            features = self._model.describe_regions(
                (self._maps_of(used),), boxes[own], places.to(boxes.device)
            )
            yield from zip(used, features.split(counts), strict=True)

    def _maps_of(self, images: list[int]) -> Tensor:
        """The last maps of images with a canvas of one size."""
        unknown = [index for index in images if index not in self._maps]
        if unknown:
            self._maps.update(zip(unknown, self._encode(unknown), strict=True))
        return torch.stack([self._maps[index] for index in images])

    def _encode(self, images: list[int]) -> Sequence[Tensor]:
        height, width = self._geometries[images[0]].canvas_shape
        return self._model.encode_image(self._inputs[images, :, :height, :width])[-1]
