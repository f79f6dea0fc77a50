from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmground.structures import GroundingDataSample

from ..localisers.proposals import BoxProposals, MaskProposals
from ..task_modules.iou_nms import (
    INTERPOLATIONS,
    SCORE_MODES,
    Candidates,
    interpolate_scores,
    iou_nms,
    pairwise_box_ious,
    pairwise_mask_ious,
    ranking_scores,
    top_candidates,
    without_self,
)

# What the proposals of a localiser answer.
TASK_OF_LOCALISER = {'box': 'rec', 'mask': 'res'}


class _Choice(NamedTuple):
    """Candidates of T texts, k each, best first, and which of them is the result."""

    proposals: Tensor  # boxes or masks on the canvas, (T, k, ...)
    scores: Tensor  # (T, k)
    kept: Tensor  # see Candidates, (T, k)
    ious: Tensor  # as Eq. 7 adds them up, (T, k, k)
    best: Tensor  # (T, )


def points_on_image(data_samples: Sequence[GroundingDataSample], grid: tuple[int, int]) -> Tensor:
    """Which points of a grid over the canvas are on each sample's image, not on the padding.

    A point is the centre of its cell, which is where an FCOS has it, too.

    Args:
        data_samples: T samples with ``image_index`` and ``geometry``.
        grid: Rows and columns (h, w) of points.

    Returns:
        Boolean, on the CPU. Shape (T, n) of n = h w points, row-major.
    """
    geometries = {sample.image_index: sample.geometry for sample in data_samples}
    valid = {index: own.valid_cells(grid).flatten() for index, own in geometries.items()}
    return torch.stack([valid[sample.image_index] for sample in data_samples])


class PointLocalisation:
    """From point scores and proposals to a box and a mask for each expression.

    The localisation stage of `PBREC <https://github.com/VILAN-Lab/PBREC-MT>`_: the proposals of the
    k best points are candidates, and the one that overlaps most with the others is the result
    (Eq. 7). Boxes and masks are chosen apart from each other. Scores are interpolated where a
    localiser has another grid than the scores, as SOLO.

    Masks are compared at the resolution of the proposals, a quarter of the canvas; the result is
    enlarged to the canvas, cut to the image and resized to the original, then thresholded, as
    SOLO does.

    Args:
        topk: k, the number of candidates.
        score_mode: What ranks boxes, see :func:`ranking_scores`. Masks are ranked by the scores
            alone, as in the paper.
        include_self: See :func:`overlap_scores`.
        exclude_padding: Whether points on the padding are no candidates, see
            :func:`points_on_image`. The official code has them.
        interpolation: See :func:`interpolate_scores`.
        align_corners: See :func:`interpolate_scores`.
        mask_threshold: Probability that foreground exceeds.
        keep_candidates: Whether results keep the candidates, for drawing them and for results
            of a smaller k.

    Raises:
        ValueError: If there is no such setting.
    """

    def __init__(
        self,
        topk: int = 12,
        score_mode: str = 'ref*centerness',
        include_self: bool = False,
        exclude_padding: bool = True,
        interpolation: str = 'probs',
        align_corners: bool = False,
        mask_threshold: float = 0.5,
        keep_candidates: bool = False,
    ) -> None:
        if topk < 1:
            raise ValueError(f'topk must be positive, got {topk}')
        if score_mode not in SCORE_MODES:
            raise ValueError(f'score_mode must be among {SCORE_MODES}, got {score_mode!r}')
        if interpolation not in INTERPOLATIONS:
            raise ValueError(f'interpolation must be among {INTERPOLATIONS}, got {interpolation!r}')
        self.topk = topk
        self.score_mode = score_mode
        self.include_self = include_self
        self.exclude_padding = exclude_padding
        self.interpolation = interpolation
        self.align_corners = align_corners
        self.mask_threshold = mask_threshold
        self.keep_candidates = keep_candidates

    def __call__(
        self,
        logits: Mapping[str, Tensor],
        proposals: Mapping[str, BoxProposals | MaskProposals],
        data_samples: Sequence[GroundingDataSample],
    ) -> list[InstanceData]:
        """Localise the expressions of a batch.

        Args:
            logits: By task (``'rec'``, ``'res'``), scores of the points before the sigmoid.
                Shape (T, h, w).
            proposals: By localiser (``'box'``, ``'mask'``), for the B images.
            data_samples: T samples with ``image_index`` and ``geometry``.

        Returns:
            Per sample an ``InstanceData`` of one element, in pixels of the original image:
            ``bboxes``, (1, 4), xyxy; ``masks``, (1, ori_h, ori_w), bool; ``scores``, (1, ), the
            ranking score of the box, or of the mask if there is no box; and ``mask_scores``,
            (1, ), that of the mask. In pixels of the canvas there is ``canvas_bboxes``, (1, 4),
            which the image does not clip, for the official protocol.

            With ``keep_candidates`` also, for ``box`` and ``mask``: ``box_candidates``,
            (1, k, 4), and ``mask_candidates``, (1, k, ori_h, ori_w), bool, best first;
            ``box_candidate_scores``, (1, k); ``box_ious``, (1, k, k), their overlaps as Eq. 7 adds
            them up, so that of a candidate with itself is 0 unless ``include_self``; and
            ``box_choice``, (1, ), the candidate that is the result. The k here is smaller if the
            image has fewer points. The same of ``ref_box``: the boxes with the best scores
            alone, whatever the ``score_mode``.

        Raises:
            ValueError: If the scores of a localiser's task are missing.
        """
        unused = [name for name in proposals if TASK_OF_LOCALISER.get(name) not in logits]
        if unused:
            raise ValueError(
                f'localisers {unused} have no scores to choose by: the head scores '
                f'{list(logits)}; boxes need its task rec, masks its task res'
            )
        results = [InstanceData() for _ in data_samples]
        if 'mask' in proposals:
            self._localise('mask', logits, proposals, data_samples, results)
        if 'box' in proposals:
            self._localise('box', logits, proposals, data_samples, results)
        return results

    def _localise(self, name: str, logits, proposals, data_samples, results) -> None:
        """Add what one localiser gives to the results."""
        own = proposals[name]
        device = own.points.device
        image_index = torch.tensor([s.image_index for s in data_samples], device=device)
        scores = interpolate_scores(
            logits[TASK_OF_LOCALISER[name]], own.grid, self.interpolation, self.align_corners
        ).flatten(1)
        centerness = None if own.centerness is None else own.centerness[image_index]
        valid = points_on_image(data_samples, own.grid).to(device) if self.exclude_padding else None

        def choose(mode: str) -> _Choice:
            ranking = ranking_scores(scores, centerness, mode)
            return self._choose(own, image_index, top_candidates(ranking, self.topk, valid))

        choice = choose(self.score_mode if name == 'box' else 'ref')
        for t, (result, sample) in enumerate(zip(results, data_samples, strict=True)):
            best = choice.best[t]
            result.scores = choice.scores[t, best][None]
            if name == 'box':
                result.canvas_bboxes = choice.proposals[t, best][None]
                result.bboxes = sample.geometry.inverse_boxes(result.canvas_bboxes)
            else:
                result.masks = self._to_image(choice.proposals[t, best][None], sample)
                result.mask_scores = result.scores
        if self.keep_candidates:
            self._keep(name, choice, data_samples, results)
            if name == 'box':
                self._keep('ref_box', choose('ref'), data_samples, results)

    def _choose(
        self, proposals: BoxProposals | MaskProposals, image_index: Tensor, candidates: Candidates
    ) -> _Choice:
        """The candidate of each text that overlaps most with the others."""
        found = proposals.decode(image_index[:, None], candidates.index)
        if isinstance(proposals, BoxProposals):
            ious = pairwise_box_ious(found)
        else:
            ious = pairwise_mask_ious(found > self.mask_threshold)
        if not self.include_self:
            ious = without_self(ious)
        best = iou_nms(ious, candidates.kept, include_self=True)
        return _Choice(found, candidates.scores, candidates.kept, ious, best)

    def _keep(self, name: str, choice: _Choice, data_samples, results) -> None:
        """Add the candidates of one choice to the results."""
        for t, (result, sample) in enumerate(zip(results, data_samples, strict=True)):
            count = int(choice.kept[t].sum())
            found = choice.proposals[t, :count]
            if name == 'mask':
                candidates = self._to_image(found, sample)
            else:
                candidates = sample.geometry.inverse_boxes(found)
            result[f'{name}_candidates'] = candidates[None]
            result[f'{name}_candidate_scores'] = choice.scores[t, None, :count]
            result[f'{name}_ious'] = choice.ious[t, None, :count, :count]
            result[f'{name}_choice'] = choice.best[t, None]

    def _to_image(self, probs: Tensor, sample: GroundingDataSample) -> Tensor:
        """Masks on the original image, of probabilities on the canvas."""
        return sample.geometry.inverse_masks(probs) > self.mask_threshold
