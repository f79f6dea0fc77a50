import torch
from torch import Tensor


def box_iou(boxes: Tensor, targets: Tensor) -> Tensor:
    """Intersection over union of corresponding boxes.

    Coordinates are continuous, see :class:`~mmground.structures.Geometry`: a box from 2 to 5 is
    3 wide. Nothing is rounded, nor added to a side or to the union.

    Args:
        boxes: xyxy, shape (N, 4), or any shape that broadcasts with that of the targets.
        targets: xyxy, shape (N, 4), on the same device.

    Returns:
        IoU of each pair, float64, shape (N, ). NaN where neither box has an area.

    Raises:
        ValueError: If a box ends before it begins, or has a coordinate that is not finite.
    """
    boxes, targets = boxes.double(), targets.double()
    for which in (boxes, targets):
        sizes = which[..., 2:] - which[..., :2]
        if not (sizes.isfinite() & (sizes >= 0)).all():
            raise ValueError('a box (xyxy) ends before it begins, or is not finite')
    shared = torch.minimum(boxes[..., 2:], targets[..., 2:]) - torch.maximum(
        boxes[..., :2], targets[..., :2]
    )
    intersection = shared.clamp(min=0).prod(dim=-1)
    union = box_area(boxes) + box_area(targets) - intersection
    return intersection / union


def box_area(boxes: Tensor) -> Tensor:
    """Area of boxes.

    Args:
        boxes: xyxy, shape (..., 4).

    Returns:
        Shape (...).
    """
    return (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)
