import torch
from torch import Tensor


def mask_overlap(masks: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels that corresponding masks share, and that either of them covers.

    Args:
        masks: Boolean, shape (N, H, W).
        targets: Boolean, shape (N, H, W), on the same device.

    Returns:
        Intersection and union of each pair in pixels, both int64 of shape (N, ).

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
    return intersection, union


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
    intersection, union = mask_overlap(masks, targets)
    return intersection.double() / union.double()


def pairwise_mask_iou(masks: Tensor, targets: Tensor) -> Tensor:
    """Intersection over union of every mask with every target.

    Args:
        masks: Boolean, shape (P, H, W), of 2**24 pixels at most.
        targets: Boolean, shape (E, H, W), on the same device.

    Returns:
        Shape (P, E), float64. NaN where both masks are empty.

    Raises:
        ValueError: If the masks differ in size.
        TypeError: If the masks are not boolean.
    """
    if masks.shape[1:] != targets.shape[1:]:
        raise ValueError(
            f'masks {tuple(masks.shape)} and targets {tuple(targets.shape)} differ in size'
        )
    if masks.dtype != torch.bool or targets.dtype != torch.bool:
        raise TypeError(f'masks must be boolean, got {masks.dtype} and {targets.dtype}')
    # Sums of 0 and 1 are exact in float32 up to 2**24.
    own, other = masks.flatten(1).float(), targets.flatten(1).float()
    intersection = (own @ other.T).double()
    union = own.sum(1, dtype=torch.float64)[:, None] + other.sum(1, dtype=torch.float64)
    return intersection / (union - intersection)


def soft_mask_iou(masks: Tensor, targets: Tensor) -> Tensor:
    """Intersection over union of corresponding maps with values in [0, 1].

    The intersection is the sum of ``p t``, the union that of ``p + t - p t``. Of boolean masks it
    is :func:`mask_iou`. Of soft ones it is below 1 even where both are equal.

    Args:
        masks: Float, p, shape (N, H, W).
        targets: Float, t, shape (N, H, W), on the same device.

    Returns:
        IoU of each pair, float64, shape (N, ). NaN where both are zero everywhere.

    Raises:
        ValueError: If the shapes differ.
    """
    if masks.shape != targets.shape:
        raise ValueError(
            f'masks {tuple(masks.shape)} and targets {tuple(targets.shape)} differ in shape'
        )
    p, t = masks.double().flatten(1), targets.double().flatten(1)
    intersection = (p * t).sum(dim=1)
    return intersection / (p.sum(dim=1) + t.sum(dim=1) - intersection)
