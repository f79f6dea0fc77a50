"""Scores of boxes for phrases, each of which may have several true boxes."""

import torch
from torch import Tensor

from .box_iou import box_iou


def best_ious(boxes: Tensor, truth: Tensor, links: Tensor) -> Tensor:
    """The highest IoU of a phrase's boxes with any of its true boxes.

    Args:
        boxes: Candidates of each phrase, xyxy. Shape (N, n, 4).
        truth: True boxes, xyxy. Shape (R, 4).
        links: Pairs (phrase, true box). Shape (K, 2), int64.

    Returns:
        Shape (N, n), float64; 0 for a phrase without a link.
    """
    phrase, region = links.unbind(1)
    ious = box_iou(boxes[phrase], truth[region][:, None]).nan_to_num(nan=0.0)
    best = torch.zeros(boxes.shape[:2], dtype=torch.float64)
    return best.scatter_reduce(0, phrase[:, None].expand_as(ious), ious, 'amax')


def centre_hits(boxes: Tensor, truth: Tensor, links: Tensor) -> Tensor:
    """Whether the centre of a phrase's box lies in one of its true boxes, borders included.

    Args:
        boxes: The box of each phrase, xyxy. Shape (N, 4).
        truth: As of :func:`best_ious`.
        links: As of :func:`best_ious`.

    Returns:
        Shape (N, ), boolean.
    """
    phrase, region = links.unbind(1)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    own, other = centres[phrase], truth[region]
    inside = ((own >= other[:, :2]) & (own <= other[:, 2:])).all(1)
    return torch.bincount(phrase, inside.double(), len(boxes)) > 0


def recalled(ious: Tensor, scores: Tensor, k: int, threshold: float, ties: bool) -> Tensor:
    """Whether one of the k best candidates of each phrase is correct.

    Args:
        ious: Of the candidates. Shape (N, n).
        scores: Shape (N, n).
        k: How many are looked at; all if there are fewer.
        threshold: IoU from which on a candidate is correct.
        ties: Whether those count as well that score as the k-th does. Where fewer than k have a
            score above 0, all do.

    Returns:
        Shape (N, ), boolean.
    """
    k = min(k, scores.shape[1])
    order = scores.sort(dim=1, descending=True, stable=True)
    if ties:
        chosen = scores >= order.values[:, k - 1 : k]
    else:
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(1, order.indices[:, :k], True)
    return ((ious >= threshold) & chosen).any(1)
