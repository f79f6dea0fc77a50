import torch
from torch import Tensor


def mask_iou(masks: Tensor, targets: Tensor) -> Tensor:
    """Intersection over union of corresponding masks.

    Args:
        masks: Boolean, shape (N, H, W).
        targets: Boolean, shape (N, H, W), on the same device.

    Returns:
        IoU of each pair, float64, shape (N, ). NaN where both masks are empty.

    Raises:
        ValueError: If the shapes differ.
        TypeError: If the masks are not boolean.
    """
    if masks.shape != targets.shape:
        raise ValueError(
            f'masks {tuple(masks.shape)} and targets {tuple(targets.shape)} differ in shape'
        )
    if masks.dtype != torch.bool or targets.dtype != torch.bool:
        raise TypeError(f'masks must be boolean, got {masks.dtype} and {targets.dtype}')
    intersection = (masks & targets).flatten(1).count_nonzero(dim=1)
    union = (masks | targets).flatten(1).count_nonzero(dim=1)
    return intersection.double() / union.double()
