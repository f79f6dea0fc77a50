"""The boxes that a weakly supervised head finds, of what it computed."""

import torch
from torch import Tensor

from ..task_modules.box_deltas import decode_boxes
from .weak_grounding_batch import Stage, WeakGrounding


def choose_boxes(result: WeakGrounding, fusion: str, refine: bool) -> dict[str, Tensor]:
    """Choose a box for each of P phrases (Eq. 11 of ReIR).

    Args:
        result: Of :class:`WeakGroundingHead`.
        fusion: See the head.
        refine: Whether the chosen boxes are moved by their own stage's offsets.

    Returns:
        Boxes (P, 4), xyxy on the canvas, not clipped, and scores (P, ), named as in
        :meth:`WeakGroundingHead.predict`; ``candidate_bboxes`` (P, M, 4) and ``candidate_scores``
        (P, M).
    """
    coarse = result.coarse
    moved = _moved(coarse, refine)
    best = _best(coarse.attention, coarse.valid)
    found = dict(bboxes_coarse=_choose(moved, best), scores_coarse=_choose(coarse.attention, best))
    if result.fine is None:
        found |= dict(
            bboxes=found['bboxes_coarse'],
            scores=found['scores_coarse'],
            bboxes_initial=_choose(coarse.boxes, best),
        )
        return found | dict(candidate_bboxes=moved, candidate_scores=coarse.attention)
    fine, boxes = result.fine, _moved(result.fine, refine)
    best = _best(fine.attention, fine.valid)
    found |= dict(bboxes_fine=_choose(boxes, best), scores_fine=_choose(fine.attention, best))
    ranking = result.fused
    if fusion == 'scores':
        scores = (coarse.scores * coarse.semantic).gather(1, result.topk)
        ranking = scores * fine.scores * fine.semantic
    best = _best(ranking, fine.valid)
    found |= dict(
        bboxes=_choose(boxes, best),
        scores=_choose(result.fused, best),
        bboxes_initial=_choose(coarse.boxes, _choose(result.topk, best)),
    )
    return found | dict(candidate_bboxes=moved, candidate_scores=coarse.attention)


def _moved(stage: Stage, refine: bool) -> Tensor:
    """Candidates where their own offsets put them. Shape (P, n, 4)."""
    if stage.deltas is None or not refine:
        return stage.boxes
    return decode_boxes(stage.boxes, stage.deltas)


def _best(scores: Tensor, valid: Tensor) -> Tensor:
    """The candidate of each phrase with the highest score. Shape (P, )."""
    return scores.masked_fill(~valid, -torch.inf).argmax(1)


def _choose(values: Tensor, index: Tensor) -> Tensor:
    """The one of each row."""
    return values[torch.arange(len(index), device=index.device), index]
