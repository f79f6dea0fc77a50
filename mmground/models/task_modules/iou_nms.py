"""From the scores of points to one box or mask: the IoU-based NMS of PBREC.

Eq. 7 of `PBREC <https://github.com/VILAN-Lab/PBREC-MT>`_: of the k best proposals, the one
that overlaps most with the others is the result. Everything here is batched over T expressions.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_overlaps, distance2bbox
from torch import Tensor

SCORE_MODES = ('ref', 'ref*centerness')
INTERPOLATIONS = ('probs', 'logits')


class Candidates(NamedTuple):
    """The k best points of each expression, best first.

    Args:
        index: Points, int64. Shape (T, k).
        scores: Their ranking scores. Shape (T, k).
        kept: False where an expression has fewer than k points to choose from, from there on.
            Shape (T, k), boolean.
    """

    index: Tensor
    scores: Tensor
    kept: Tensor


def boxes_from_distances(
    points: Tensor, distances: Tensor, canvas_shape: tuple[int, int] | None = None
) -> Tensor:
    """Boxes around points.

    Args:
        points: xy in pixels. Shape (n, 2) or (B, n, 2).
        distances: Left, top, right and bottom distance from the point to the sides of its box, in
            pixels. Shape (B, n, 4).
        canvas_shape: (height, width) to which boxes are clipped: the canvas, not the image on
            it, as in the official code. None does not clip.

    Returns:
        xyxy. Shape (B, n, 4).
    """
    return distance2bbox(points.expand(*distances.shape[:-1], 2), distances, canvas_shape)


def interpolate_scores(
    logits: Tensor,
    shape: tuple[int, int],
    interpolation: str = 'probs',
    align_corners: bool = False,
) -> Tensor:
    """Scores in [0, 1] of the points of another grid than that of the logits.

    SOLO has a grid of its own; the official README says that the scores are linearly
    interpolated to it. Whether before or after the sigmoid it leaves open.

    Args:
        logits: Point scores before the sigmoid. Shape (T, h, w).
        shape: Size (h', w') of the other grid. That of the logits leaves them as they are.
        interpolation: What is interpolated, ``'probs'`` or ``'logits'``.
        align_corners: Whether the centres of corner cells lie on each other, as in
            ``F.interpolate``; otherwise the grids cover the same canvas.

    Returns:
        Shape (T, h', w').

    Raises:
        ValueError: If there is no such ``interpolation``.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f'interpolation must be among {INTERPOLATIONS}, got {interpolation!r}')

    def resize(maps: Tensor) -> Tensor:
        if maps.shape[-2:] == tuple(shape):
            return maps
        if not len(maps):
            return maps.new_zeros((0, *shape))
        return F.interpolate(
            maps[:, None], size=tuple(shape), mode='bilinear', align_corners=align_corners
        )[:, 0]

    logits = logits.float()
    return resize(logits.sigmoid()) if interpolation == 'probs' else resize(logits).sigmoid()


def ranking_scores(scores: Tensor, centerness: Tensor | None, mode: str) -> Tensor:
    """What the proposals of an expression are ranked by.

    Args:
        scores: How much each point is referred to, in [0, 1]. Shape (T, n).
        centerness: The detector's own centerness at the points, in [0, 1], which the paper
            calls confidence (Table 5). Shape (T, n). None if the detector has none.
        mode: ``'ref'`` for the scores alone, ``'ref*centerness'`` for the product.

    Returns:
        Shape (T, n).

    Raises:
        ValueError: If there is no such mode, or no centerness for it.
    """
    if mode not in SCORE_MODES:
        raise ValueError(f'score_mode must be among {SCORE_MODES}, got {mode!r}')
    if mode == 'ref':
        return scores
    if centerness is None:
        raise ValueError(f'score_mode {mode!r} needs proposals with centerness')
    return scores * centerness


def top_candidates(scores: Tensor, k: int, valid: Tensor | None = None) -> Candidates:
    """The k best points of each expression.

    Args:
        scores: Ranking scores. Shape (T, n).
        k: Number of candidates; n at most.
        valid: Points to choose from, such as those that are not on padding. Shape (T, n),
            boolean. None, or an expression without any: all of them.

    Returns:
        The candidates, best first; of equal scores the point of the lower index.

    Raises:
        ValueError: If k is not positive.
    """
    if k < 1:
        raise ValueError(f'k must be positive, got {k}')
    if valid is None:
        valid = torch.ones_like(scores, dtype=torch.bool)
    valid = valid | ~valid.any(-1, keepdim=True)
    ranked = scores.masked_fill(~valid, -torch.inf)
    index = ranked.sort(dim=-1, descending=True, stable=True).indices
    index = index[:, :k]
    return Candidates(index, scores.gather(-1, index), valid.gather(-1, index))


def pairwise_box_ious(boxes: Tensor) -> Tensor:
    """IoU of each pair of an expression's boxes; 0 where both are without area.

    Args:
        boxes: xyxy. Shape (T, k, 4).

    Returns:
        Shape (T, k, k).
    """
    return bbox_overlaps(boxes, boxes, eps=1e-16)


def pairwise_mask_ious(masks: Tensor) -> Tensor:
    """IoU of each pair of an expression's masks; 0 where both are empty.

    Args:
        masks: Boolean. Shape (T, k, h, w).

    Returns:
        Shape (T, k, k), float32.
    """
    # Sums of 0 and 1 are exact in float32 up to 2**24 pixels.
    flat = masks.flatten(2).float()
    areas = flat.sum(-1)
    intersections = flat @ flat.transpose(1, 2)
    unions = areas[:, :, None] + areas[:, None] - intersections
    return intersections / unions.clamp(min=1)


def without_self(ious: Tensor) -> Tensor:
    """Pairwise IoUs, (T, k, k), with 0 for each candidate with itself."""
    return ious - torch.diag_embed(ious.diagonal(dim1=-2, dim2=-1))


def overlap_scores(ious: Tensor, kept: Tensor | None = None, include_self: bool = False) -> Tensor:
    """Eq. 7: how much each candidate overlaps with the others.

    Args:
        ious: Pairwise IoU of the candidates. Shape (T, k, k).
        kept: See :class:`Candidates`. None keeps all.
        include_self: Whether j = i counts, as the equation is written. The official code leaves
            it out. As every proposal overlaps with itself by 1, only proposals without area or
            pixels tell the two apart.

    Returns:
        r_i, shape (T, k); -inf for a candidate that is not kept.
    """
    if kept is not None:
        ious = ious * (kept[:, :, None] & kept[:, None])
    if not include_self:
        ious = without_self(ious)
    overlaps = ious.sum(-1)
    return overlaps if kept is None else overlaps.masked_fill(~kept, -torch.inf)


def iou_nms(ious: Tensor, kept: Tensor | None = None, include_self: bool = False) -> Tensor:
    """The candidate of each expression that overlaps most with the others (Eq. 7).

    The candidates of a smaller k are the first of those of a larger one, so results for many k
    come from one set: ``iou_nms(ious[:, :k, :k])``.

    Args:
        ious: Pairwise IoU of the candidates, best first. Shape (T, k, k).
        kept: See :func:`overlap_scores`.
        include_self: See :func:`overlap_scores`.

    Returns:
        Its position among the candidates, int64; of equals the first, which ranks higher.
        Shape (T, ).

    Example:
        >>> boxes = torch.tensor([[[0., 0., 9., 9.], [0., 0., 4., 4.], [0., 0., 4., 5.]]])
        >>> iou_nms(pairwise_box_ious(boxes))
        tensor([2])
    """
    # argmax gives the first of equal maxima.
    return overlap_scores(ious, kept, include_self).argmax(-1)
