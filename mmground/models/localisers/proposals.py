from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class BoxProposals:
    """A box for each point of a grid over the canvas, for each image of a batch.

    Args:
        grid: Rows and columns (h, w) of the points; n = h w, row by row.
        points: Where they are, xy in pixels of the canvas. Shape (n, 2).
        boxes: xyxy in pixels of the canvas, clipped to it. Shape (B, n, 4).
        centerness: The detector's own estimate of how central each point is to its box, in
            [0, 1]. Shape (B, n).
    """

    grid: tuple[int, int]
    points: Tensor
    boxes: Tensor
    centerness: Tensor

    def decode(self, image_index: Tensor, point_index: Tensor) -> Tensor:
        """Boxes of selected points.

        Args:
            image_index: Image of each selected point, int64, of any shape.
            point_index: The points, int64, of a shape that broadcasts with it.

        Returns:
            Shape (..., 4).
        """
        return self.boxes[image_index, point_index]


@dataclass
class MaskProposals:
    """A mask for each point of a grid over the canvas, made when it is asked for.

    A point's mask is a linear function of the features of its image, so few of the n masks cost
    little.

    Args:
        grid: Rows and columns (h, w) of the points; n = h w, row by row.
        points: Where they are, xy in pixels of the canvas. Shape (n, 2).
        features: What masks are made of. Shape (B, C, fh, fw).
        weight: Of each point, what it takes of the features. Shape (n, C).
        bias: Shape (n, ).
        shape: Size of the masks, which cover the canvas: a quarter of it.
    """

    grid: tuple[int, int]
    points: Tensor
    features: Tensor
    weight: Tensor
    bias: Tensor
    shape: tuple[int, int]

    centerness = None

    def decode(self, image_index: Tensor, point_index: Tensor) -> Tensor:
        """Masks of selected points.

        A point that is asked for several times, by several expressions of an image, is computed
        once.

        Args:
            image_index: Image of each selected point, int64, of any shape.
            point_index: The points, int64, of a shape that broadcasts with it.

        Returns:
            Probabilities. Shape (..., *shape).
        """
        image_index, point_index = torch.broadcast_tensors(image_index, point_index)
        size = image_index.shape
        count = len(self.weight)
        wanted, place = (image_index * count + point_index).flatten().unique(return_inverse=True)
        # Sorted, so that the points of an image follow each other.
        counts = torch.bincount(wanted // count, minlength=len(self.features)).tolist()
        probs = [
            self._image_masks(features, points)
            for features, points in zip(self.features, (wanted % count).split(counts), strict=True)
        ]
        return torch.cat(probs)[place].view(*size, *self.shape)

    def _image_masks(self, features: Tensor, points: Tensor) -> Tensor:
        """Masks of points of one image, (C, fh, fw) -> (m, *shape)."""
        if not len(points):
            return features.new_zeros((0, *self.shape))
        logits = self.weight[points] @ features.flatten(1) + self.bias[points, None]
        probs = logits.sigmoid().view(1, len(points), *features.shape[-2:])
        return F.interpolate(probs, size=self.shape, mode='bilinear', align_corners=False)[0]
