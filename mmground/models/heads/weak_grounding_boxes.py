"""The boxes that a weakly supervised head finds, of what it computed."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmground.structures import GroundingDataSample

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
        ranking = coarse.logits.gather(1, result.topk) * fine.logits
    best = _best(ranking, fine.valid)
    found |= dict(
        bboxes=_choose(boxes, best),
        scores=_choose(ranking, best),
        bboxes_initial=_choose(coarse.boxes, _choose(result.topk, best)),
    )
    return found | dict(candidate_bboxes=moved, candidate_scores=coarse.attention)


def pack_boxes(
    found: dict[str, Tensor],
    counts: Sequence[int],
    data_samples: Sequence[GroundingDataSample],
    keep_candidates: bool,
) -> list[InstanceData]:
    """Give each of T samples what was found of its phrases.

    Args:
        found: Of all P phrases, as :func:`choose_boxes` gives it, and what else there is of each.
        counts: Phrases of each sample.
        data_samples: Samples with ``geometry`` and ``proposals``.
        keep_candidates: Whether ``candidate_bboxes`` and ``candidate_scores`` are kept.

    Returns:
        Per sample; boxes in pixels of the original image, candidates without padding.
    """
    results = [InstanceData() for _ in data_samples]
    for name, values in found.items():
        is_candidate = name.startswith('candidate')
        if is_candidate and not keep_candidates:
            continue
        for result, sample, value in zip(results, data_samples, values.split(counts), strict=True):
            if is_candidate:
                value = value[:, : len(sample.proposals.bboxes)]
            result[name] = sample.geometry.inverse_boxes(value) if 'bboxes' in name else value
    return results


def split_graph(weights: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """The weights of each text's graph.

    Args:
        weights: Of all P phrases. Edges are within texts. Shape (P, P).
        counts: Phrases of each text.

    Returns:
        Per text of N phrases, shape (N, N).
    """
    starts = accumulate(counts, initial=0)
    return [
        own[:, start : start + len(own)]
        for own, start in zip(weights.split(counts), starts, strict=False)
    ]


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
