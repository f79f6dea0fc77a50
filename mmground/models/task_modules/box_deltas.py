"""Offsets between boxes, in the form of the R-CNN family."""

import math

import torch
from torch import Tensor

# By what offsets of centre x and y, and logarithms of width and height, are multiplied.
_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
# Boxes grow by this at most; only growth is limited, as in Detectron2.
_MAX_LOG_SCALE = math.log(1000 / 16)


def encode_boxes(boxes: Tensor, targets: Tensor) -> Tensor:
    """Offsets that turn boxes into targets.

    Args:
        boxes: xyxy, with an area. Shape (..., 4).
        targets: xyxy, with an area. Shape (..., 4).

    Returns:
        (dx, dy, dw, dh), weighted. Shape (..., 4).
    """
    centre, size = _centre_and_size(boxes)
    target_centre, target_size = _centre_and_size(targets)
    shift = (target_centre - centre) / size
    scale = (target_size / size).log()
    return torch.cat((shift, scale), dim=-1) * shift.new_tensor(_WEIGHTS)


def decode_boxes(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Apply offsets to boxes; the opposite of :func:`encode_boxes`.

    Args:
        boxes: xyxy. Shape (..., 4).
        deltas: (dx, dy, dw, dh), weighted. Shape (..., 4).

    Returns:
        xyxy, not clipped. Shape (..., 4).
    """
    centre, size = _centre_and_size(boxes)
    shift, scale = (deltas / deltas.new_tensor(_WEIGHTS)).split(2, dim=-1)
    centre = shift * size + centre
    half = 0.5 * scale.clamp(max=_MAX_LOG_SCALE).exp() * size
    return torch.cat((centre - half, centre + half), dim=-1)


def clip_boxes(boxes: Tensor, image_shapes: Tensor) -> Tensor:
    """Cut boxes at the borders of their images.

    Args:
        boxes: xyxy. Shape (..., 4).
        image_shapes: (height, width) of the image of each. Shape (..., 2).

    Returns:
        Shape (..., 4).
    """
    limits = image_shapes[..., [1, 0, 1, 0]].to(boxes)
    return boxes.clamp(min=0).minimum(limits)


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    first, last = boxes.split(2, dim=-1)
    size = last - first
    return first + 0.5 * size, size
