"""Boxes that learn from the most confident of their neighbours: Sec. 3.3 of ReIR."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from mmground.registry import MODELS

from ..task_modules.box_deltas import encode_boxes
from .per_text import check_reduction, sum_per_text


class RegressionTargets(NamedTuple):
    """What the candidate boxes of each phrase are to be moved by.

    Args:
        deltas: Offsets from a candidate to its phrase's anchor, see :func:`encode_boxes`; 0 where
            ``kept`` is False. Shape (P, n, 4).
        kept: Candidates that overlap with the anchor enough. Shape (P, n), boolean.
        confident: Those of them of which the anchor is sure enough. Shape (P, n), boolean.
    """

    deltas: Tensor
    kept: Tensor
    confident: Tensor


def self_taught_targets(
    attention: Tensor,
    boxes: Tensor,
    valid: Tensor,
    iou_threshold: float = 0.6,
    score_gap: float = 0.1,
) -> RegressionTargets:
    """Take the candidate of the highest attention as the truth for its neighbours (Eq. 15).

    The anchor itself and exact duplicates of it are no neighbours. Boxes may carry a gradient,
    which the targets then have too.

    Args:
        attention: Of each phrase over its candidates. Shape (P, n).
        boxes: xyxy. Shape (P, n, 4).
        valid: Candidates that exist. Shape (P, n), boolean.
        iou_threshold: tau, the overlap with the anchor from which on a candidate is a neighbour.
        score_gap: How much more attention the anchor must have than a neighbour for that
            to learn from it; the official code's addition. 0 lets all of them.

    Returns:
        The targets.
    """
    with torch.no_grad():
        anchor = attention.argmax(1, keepdim=True)
        gap = attention.gather(1, anchor) - attention
        anchor_box = boxes.gather(1, anchor[..., None].expand(-1, -1, 4))
        ious = bbox_overlaps(anchor_box, boxes, eps=1e-12)[:, 0]
        kept = valid & (ious >= iou_threshold) & (ious != 1)
        confident = kept & (gap >= score_gap)
    targets = boxes.gather(1, anchor[..., None].expand(-1, -1, 4)).expand_as(boxes)
    # Boxes may have collapsed. Those have no neighbours, but their gradient would not be finite.
    unit = boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    chosen, towards = (torch.where(kept[..., None], own, unit) for own in (boxes, targets))
    return RegressionTargets(encode_boxes(chosen, towards), kept, confident)


@MODELS.register_module()
class SelfTaughtRegressionLoss(torch.nn.Module):
    """Smooth L1 between predicted offsets and those to the most confident candidate (Eq. 15).

    It is about the offsets of a text's neighbours, of which those that the anchor is not sure
    enough of count as 0; 0 for a text without any.

    Args:
        iou_threshold: See :func:`self_taught_targets`.
        score_gap: See :func:`self_taught_targets`.
        reduction: What becomes of the offsets of a text: their ``'mean'``, as in the official code,
            or their ``'sum'``, as in the paper.
        loss_weight: lambda_1 of Eq. 12.

    Raises:
        ValueError: If there is no such ``reduction``.
    """

    def __init__(
        self,
        iou_threshold: float = 0.6,
        score_gap: float = 0.1,
        reduction: str = 'mean',
        loss_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)
        self.iou_threshold = iou_threshold
        self.score_gap = score_gap
        self.loss_weight = loss_weight

    def forward(
        self,
        deltas: Tensor,
        boxes: Tensor,
        attention: Tensor,
        valid: Tensor,
        text_index: Tensor,
        num_texts: int,
    ) -> Tensor:
        """Loss of each text.

        Args:
            deltas: Predicted offsets. Shape (P, n, 4).
            boxes: Candidates of each phrase, xyxy. Shape (P, n, 4).
            attention: See :func:`self_taught_targets`. Shape (P, n).
            valid: See :func:`self_taught_targets`. Shape (P, n).
            text_index: The text of each phrase. Shape (P, ).
            num_texts: Number of texts, T.

        Returns:
            Shape (T, ).
        """
        targets = self_taught_targets(attention, boxes, valid, self.iou_threshold, self.score_gap)
        errors = F.smooth_l1_loss(deltas, targets.deltas, reduction='none').sum(-1)
        errors = (errors * targets.confident).sum(1)
        totals = sum_per_text(errors, text_index, num_texts)
        if self.reduction == 'sum':
            return self.loss_weight * totals
        counts = sum_per_text(4 * targets.kept.sum(1), text_index, num_texts)
        return self.loss_weight * totals / counts.clamp(min=1)
