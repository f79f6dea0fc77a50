"""Scores of referring expressions, one by one, and what papers make of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from mmground.evaluation.functional import (
    label_groups,
    length_groups,
    overall_iou,
    recall_at,
    size_groups,
)

BOX_THRESHOLDS = (0.25, 0.5, 0.75)
MASK_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
# What a model is judged by, as far as it predicts it; the first is the one to select it by.
MAIN_MEASURES = ('Acc@0.5', 'mIoU', 'oIoU', 'point_acc')


@dataclass
class ScoredExpressions:
    """Referring expressions with their scores under one protocol; element i is expression i.

    Args:
        sample_ids: The sample of each expression.
        splits: Data set and split of each, as in ``refcoco_testA``; '' where unknown.
        texts: The expressions.
        types: Their types, such as ``'relation'``; '' where unknown.
        areas: Pixels of the target in the original image: of its mask, or of its box where the
            annotations have no masks. Shape (N, ).
        has_target: False for an expression that refers to nothing. Shape (N, ).
        box_ious: In [0, 1], shape (N, ); None if boxes were not scored. Where nothing is the
            target, it is 1 if nothing was predicted, and otherwise 0; so are the following.
        mask_ious: In [0, 1], shape (N, ); None if masks were not scored.
        intersections: Pixels of the predicted mask on the target. Shape (N, ).
        unions: Pixels of mask and target together. Shape (N, ).
        point_hits: Whether the best point is one of the target's, shape (N, ), boolean; None if
            the model scores no points.
    """

    sample_ids: np.ndarray
    splits: np.ndarray
    texts: np.ndarray
    types: np.ndarray
    areas: np.ndarray
    has_target: np.ndarray
    box_ious: np.ndarray | None = None
    mask_ious: np.ndarray | None = None
    intersections: np.ndarray | None = None
    unions: np.ndarray | None = None
    point_hits: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, members: np.ndarray) -> 'ScoredExpressions':
        """Those of a boolean array of shape (N, )."""
        chosen = {
            field.name: getattr(self, field.name)[members]
            for field in fields(self)
            if getattr(self, field.name) is not None
        }
        return replace(self, **chosen)

    def by_split(self) -> dict[str, 'ScoredExpressions']:
        """The expressions of each known split."""
        return {split: self.select(members) for split, members in label_groups(self.splits).items()}

    def measures(self, strict: bool = False) -> dict[str, float]:
        """What papers report, in percent.

        Expressions without a target do not count, but for the share of them for which nothing was
        predicted.

        Args:
            strict: Whether an IoU that equals the threshold misses it.

        Returns:
            Of boxes ``Acc@0.25``, ``Acc@0.5``, ``Acc@0.75`` and ``box_mIoU``; of masks ``mIoU``,
            ``oIoU`` and ``Pr@0.5`` to ``Pr@0.9``; of points ``point_acc``; each as far as scored,
            NaN if no expression has a target. ``box_no_target_acc`` and ``mask_no_target_acc`` if
            there are expressions without one.
        """
        with_target = self.select(self.has_target)
        measures = {}
        if self.box_ious is not None:
            ious = with_target.box_ious
            for threshold in BOX_THRESHOLDS:
                measures[f'Acc@{threshold}'] = recall_at(ious, threshold, strict)
            measures['box_mIoU'] = _mean(ious)
        if self.mask_ious is not None:
            ious = with_target.mask_ious
            measures['mIoU'] = _mean(ious)
            measures['oIoU'] = overall_iou(with_target.intersections, with_target.unions)
            for threshold in MASK_THRESHOLDS:
                measures[f'Pr@{threshold}'] = recall_at(ious, threshold, strict)
        if self.point_hits is not None:
            measures['point_acc'] = _mean(with_target.point_hits)
        if not self.has_target.all():
            for task in ('box', 'mask'):
                ious = getattr(self, f'{task}_ious')
                if ious is not None:
                    measures[f'{task}_no_target_acc'] = _mean(ious[~self.has_target])
        return {name: 100 * value for name, value in measures.items()}

    def breakdown(self, strict: bool = False) -> dict[str, dict[str, dict]]:
        """The main measures by kind of expression.

        Args:
            strict: See :meth:`measures`.

        Returns:
            ``size`` of the target (COCO's: small below 32 x 32 pixels in the original image, large
            from 96 x 96 on), ``words`` (number of words between white space) and, where known,
            ``type``: dicts of groups. A group is a dict of ``num_expressions`` and as far as scored
            the ``MAIN_MEASURES``. Groups without an expression are left out, as are expressions
            without a target.
        """
        own = self.select(self.has_target)
        kinds = {
            'size': size_groups(own.areas),
            'words': length_groups(own.texts, starts=(1, 3, 5, 8, 11)),
            'type': label_groups(own.types),
        }
        return {
            kind: {
                name: own.select(members).summary(strict)
                for name, members in groups.items()
                if members.any()
            }
            for kind, groups in kinds.items()
            if groups
        }

    def summary(self, strict: bool = False) -> dict[str, float]:
        """``num_expressions``, those with a target, and the main measures in percent."""
        measures = self.measures(strict)
        main = {name: measures[name] for name in MAIN_MEASURES if name in measures}
        return {'num_expressions': int(self.has_target.sum()), **main}

    def records(self) -> Iterator[dict]:
        """A dict per expression, of plain Python values: ``sample_id``, ``split``, and so on."""
        columns = {
            field.name.removesuffix('s'): getattr(self, field.name).tolist()
            for field in fields(self)
            if getattr(self, field.name) is not None
        }
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))


def _mean(ious: np.ndarray) -> float:
    return float(ious.mean()) if len(ious) else float('nan')


def scored_expressions(results: Sequence[dict], protocol: str) -> ScoredExpressions:
    """Put together what :meth:`ReferringMetric.process` kept.

    Args:
        results: At least one, of different samples.
        protocol: One that was scored.

    Raises:
        ValueError: If boxes, masks or points were scored for a part of the samples only.
    """
    counts = [len(result['texts']) for result in results]
    scored = {name for result in results for name in result['scores'][protocol]}
    for result in results:
        if missing := scored - result['scores'][protocol].keys():
            raise ValueError(
                f'sample {result["sample_id"]} has no {", ".join(sorted(missing))}, which others '
                'have: a model predicts boxes, masks or points for every sample or for none'
            )
    return ScoredExpressions(
        sample_ids=np.repeat(_strings(result['sample_id'] for result in results), counts),
        splits=np.repeat(_strings(result['split'] for result in results), counts),
        texts=_strings(text for result in results for text in result['texts']),
        types=_strings(type_ for result in results for type_ in result['types']),
        areas=np.concatenate([result['areas'] for result in results]),
        has_target=np.concatenate([result['has_target'] for result in results]),
        **{
            name: np.concatenate([result['scores'][protocol][name] for result in results])
            for name in scored
        },
    )


def _strings(values: Iterator[str]) -> np.ndarray:
    # Objects: a fixed width would take that of the longest for each.
    return np.array(list(values), dtype=object)
