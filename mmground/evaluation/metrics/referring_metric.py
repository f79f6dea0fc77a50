import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from terminaltables import AsciiTable
from torch import Tensor

from mmground.evaluation.functional import box_area, box_iou, mask_overlap
from mmground.evaluation.scored_expressions import (
    MAIN_MEASURES,
    ScoredExpressions,
    scored_expressions,
)
from mmground.models.task_modules import iou_nms
from mmground.registry import METRICS
from mmground.structures import phrase_boxes, phrase_masks

from .kept_results import to_keep, unique_results


@METRICS.register_module()
class ReferringMetric(BaseMetric):
    """Accuracy of referring expression comprehension (REC) and segmentation (RES).

    Every expression counts once. Its target is the union of its regions: their masks united, and
    the smallest box around their boxes. Predicted boxes and masks are scored under one or more
    protocols, which differ in the grid:

    - ``'original'``: boxes and masks on the pixels of the original image, boxes as annotated.
    - ``'canvas'``: on the network's letterboxed input, as the official code of PBREC scores boxes.
      The annotated box is cut to integers (x, y, width and height each) and mapped to the canvas.
      The predicted one is ``pred_phrases.canvas_bboxes`` (xyxy in pixels of the canvas, may reach
      into the padding) where the model keeps it, else ``pred_phrases.bboxes``, which the image
      clips, mapped to the canvas. Masks, for which there is no official code, are resized to the
      canvas bilinearly, and above 0.5 is foreground. The official code knows the first polygon of
      a mask only; that is a matter of the pipeline that reads the masks.

    An IoU is 0 where exactly one of prediction and target is empty, and 1 where both are.
    Expressions without target (no linked region) are counted apart: the share of them for which
    nothing was predicted, which is an empty mask or a box without area.

    Values are percentages, named ``<prefix>/<protocol>/<measure>``::

        referring/original/Acc@0.25   Acc@0.5   Acc@0.75   box_mIoU             (boxes)
        referring/original/mIoU       oIoU      Pr@0.5 ... Pr@0.9               (masks)
        referring/original/point_acc                                            (points)
        referring/original/box_no_target_acc    mask_no_target_acc              (if there are any)
        referring/num_expressions     referring/num_no_target                   (counts)

    ``mIoU`` is the mean of the IoUs, ``oIoU`` the cumulative one, see :func:`overall_iou`. The
    counts are those of expressions with and without a target.

    ``point_acc`` is of grounders that score the points of a grid, with or without localisers: the
    share of expressions whose best point is one of the target's (``pred_phrases.point_hit``), of
    the same value under every protocol. The official code of PBREC chooses its checkpoint by it. It
    says where a model points and nothing of boxes and masks, so it is not what papers report.

    The first value is the one to select a checkpoint by: ``Acc@0.5`` of a model that predicts
    boxes, else ``mIoU``, else ``point_acc``. It is what ``save_best='auto'`` of MMEngine's
    ``CheckpointHook`` follows.

    Where samples of several data sets or splits are evaluated in one go (metainfo ``dataset`` and
    ``split``), these values are of all expressions, and each split has its own, as
    ``referring/original/refcoco_testA/Acc@0.5`` and ``referring/refcoco_testA/num_expressions``.

    A sample that comes more than once, because a distributed sampler filled up its last batch, is
    counted once and warned about. For each expression, its scores and its text are kept.

    Args:
        protocol: ``'original'``, ``'canvas'`` or a list of them.
        tasks: ``'rec'`` to score boxes, ``'res'`` to score masks, or both. None takes what the
            model predicts. Points are scored in any case.
        strict: Whether an IoU has to exceed a threshold. By default it has to reach it.
        breakdown: Whether to report by size of the target, number of words and type of the
            expression as well, see :meth:`ScoredExpressions.breakdown`: in a table, and as values
            ``<name>/<kind>_<group>``, such as ``referring/original/Acc@0.5/size_small``.
        topk: Score what the IoU-based NMS of PBREC (Eq. 7) chooses of the first k of the candidates
            that predictions keep (``keep_candidates`` and a ``topk`` at least as large in the
            head's ``test_cfg``), under the prefix ``referring_k<k>``. So a list of these metrics
            gives the results for many k, as in the paper's Table 5, in one pass. For the
            protocol ``'original'``. None scores the predictions.
        score_mode: With ``topk``, what ranks the boxes among which is chosen: None for the head's
            ``score_mode``, or ``'ref'`` for the scores of the points alone, under the prefix
            ``referring_k<k>_ref``. Masks are ranked by their scores in any case.
        ious_file: A file for the scores of every expression, as JSON lines: ``protocol`` and the
            fields of :class:`ScoredExpressions` in the singular (``sample_id``, ``split``,
            ``box_iou``, ...). Each evaluation replaces it. None writes nothing.
        collect_device: Device on which results of several processes are collected,
            ``'cpu'`` or ``'gpu'``.
        prefix: First part of the names. None means ``'referring'``.
        collect_dir: Folder through which results are collected on the CPU.

    Example:
        >>> test_evaluator = dict(type='ReferringMetric', breakdown=True)
        >>> default_hooks = dict(
        ...     checkpoint=dict(
        ...         type='CheckpointHook', save_best='auto', rule='greater'
        ...     )
        ... )
    """

    default_prefix = 'referring'

    def __init__(
        self,
        protocol: str | Sequence[str] = 'original',
        tasks: str | Sequence[str] | None = None,
        strict: bool = False,
        breakdown: bool = False,
        topk: int | None = None,
        score_mode: str | None = None,
        ious_file: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        if topk is not None:
            suffix = f'_{score_mode}' if score_mode else ''
            prefix = prefix or f'{self.default_prefix}_k{topk}{suffix}'
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.protocols = [protocol] if isinstance(protocol, str) else list(protocol)
        if not self.protocols or not set(self.protocols) <= set(_PROTOCOLS):
            raise ValueError(f'protocol must be among {list(_PROTOCOLS)}, got {protocol!r}')
        self.tasks = [tasks] if isinstance(tasks, str) else tasks
        if self.tasks is not None and not (self.tasks and set(self.tasks) <= set(_FIELDS)):
            raise ValueError(f'tasks must be among {list(_FIELDS)} or None, got {tasks!r}')
        if ious_file is not None and not ious_file.endswith('.jsonl'):
            raise ValueError(f'ious_file is JSON lines: its name must end with .jsonl: {ious_file}')
        if topk is not None and (topk < 1 or self.protocols != ['original']):
            raise ValueError(
                f"topk must be positive and the protocol 'original', got {topk} and {protocol!r}"
            )
        if score_mode not in (None, 'ref') or (score_mode and topk is None):
            raise ValueError(f"score_mode must be 'ref', with a topk, or None, got {score_mode!r}")
        self.strict = strict
        self.breakdown = breakdown
        self.topk = topk
        self.score_mode = score_mode
        self.ious_file = ious_file

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Score the expressions of a batch.

        Args:
            data_batch: Not used.
            data_samples: :class:`GroundingDataSample` objects with ``gt_regions``, ``links`` and
                ``pred_phrases``, in the form of nested dicts.

        Raises:
            KeyError: If a sample lacks annotations or predictions.
            ValueError: If predictions do not fit the expressions or the image.
        """
        for sample in data_samples:
            fields = self._fields(sample)
            if self.topk is not None:
                chosen = _choose_among(sample, fields, self.topk, self.score_mode)
                sample = {**sample, 'pred_phrases': chosen}
            truth = _ground_truth(sample, fields)
            try:
                points = _point_scores(sample['pred_phrases'], truth)
                scores = {
                    protocol: _PROTOCOLS[protocol](sample, truth, fields) | points
                    for protocol in self.protocols
                }
            except ValueError as error:
                raise ValueError(f'sample {sample["sample_id"]}: {error}') from error
            self.results.append(
                dict(
                    sample_id=sample['sample_id'],
                    split='_'.join(sample[key] for key in ('dataset', 'split') if sample.get(key)),
                    texts=[phrase['text'] for phrase in sample['phrases']],
                    types=[phrase.get('type') or '' for phrase in sample['phrases']],
                    areas=to_keep(truth.areas),
                    has_target=to_keep(truth.has_target),
                    scores={
                        protocol: {name: to_keep(values) for name, values in own.items()}
                        for protocol, own in scores.items()
                    },
                )
            )

    def _fields(self, sample: dict) -> list[str]:
        """The fields of the predictions to score; none if there are points only."""
        predicted = sample.get('pred_phrases', {})
        wanted = list(_FIELDS.values())
        if self.tasks is not None:
            wanted = [_FIELDS[task] for task in self.tasks]
        found = [field for field in wanted if field in predicted]
        if self.tasks is None and self.topk is None and 'point_hit' in predicted:
            return found
        if not found or (self.tasks is not None and found != wanted):
            missing = ' and no '.join(
                f'pred_phrases.{field}' for field in wanted if field not in found
            )
            raise KeyError(
                f'sample {sample["sample_id"]} has no {missing}: the model predicts none; a system '
                'with localisers predicts only what it has a localiser for'
            )
        return found

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average over expressions, print tables, write the file of IoUs.

        MMEngine calls it on the main process only.

        Args:
            results: What :meth:`process` stored, of all processes.

        Returns:
            Measures by name, without the prefix.
        """
        results = unique_results(results, 'ReferringMetric')
        scored = {protocol: scored_expressions(results, protocol) for protocol in self.protocols}
        metrics = self._main_value(scored)
        for protocol, expressions in scored.items():
            parts = _parts(expressions)
            self._print_table(protocol, parts)
            for part, own in parts.items():
                where = f'{part}/' if part != 'all' else ''
                for name, value in own.measures(self.strict).items():
                    metrics[f'{protocol}/{where}{name}'] = value
                if self.breakdown:
                    metrics |= self._breakdown(protocol, where, own)
        # Floats, since the log's JSON file has null for integers.
        for part, own in _parts(expressions).items():
            where = f'{part}/' if part != 'all' else ''
            metrics[f'{where}num_expressions'] = float(own.has_target.sum())
            metrics[f'{where}num_no_target'] = float((~own.has_target).sum())
        if self.ious_file is not None:
            self._write_ious(scored)
        return metrics

    def _main_value(self, scored: dict[str, ScoredExpressions]) -> dict[str, float]:
        """The value to select a checkpoint by."""
        protocol, expressions = next(iter(scored.items()))
        measures = expressions.measures(self.strict)
        main = next(name for name in MAIN_MEASURES if name in measures)
        return {f'{protocol}/{main}': measures[main]}

    def _print_table(self, protocol: str, parts: dict[str, ScoredExpressions]) -> None:
        measures = {name: own.measures(self.strict) for name, own in parts.items()}
        columns = list(dict.fromkeys(name for own in measures.values() for name in own))
        rows = [
            [
                name,
                int(own.has_target.sum()),
                *(_percent(measures[name].get(column)) for column in columns),
            ]
            for name, own in parts.items()
        ]
        everything = parts['all']
        chosen = f', k = {self.topk}' if self.topk else ''
        chosen += f', ranked by {self.score_mode}' if self.score_mode else ''
        print_log(
            f'Referring expressions, protocol {protocol}{chosen}, IoU '
            f'{">" if self.strict else ">="} threshold; {len(everything)} expressions, '
            f'{(~everything.has_target).sum()} of them without a target\n'
            + _table(['split', 'expressions', *columns], rows),
            logger='current',
        )

    def _breakdown(self, protocol: str, where: str, expressions: ScoredExpressions) -> dict:
        groups = expressions.breakdown(self.strict)
        columns = list(expressions.summary(self.strict))[1:]
        rows = [
            [f'{kind}: {name}', group['num_expressions'], *(_percent(group[c]) for c in columns)]
            for kind, by_name in groups.items()
            for name, group in by_name.items()
        ]
        print_log(
            f'By kind of expression, protocol {protocol}, {where.rstrip("/") or "all"}\n'
            + _table(['kind', 'expressions', *columns], rows),
            logger='current',
        )
        return {
            f'{protocol}/{where}{column}/{kind}_{name.replace(" ", "-")}': group[column]
            for kind, by_name in groups.items()
            for name, group in by_name.items()
            for column in columns
        }

    def _write_ious(self, scored: dict[str, ScoredExpressions]) -> None:
        path = Path(self.ious_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open('w', encoding='utf-8') as file:
            for protocol, expressions in scored.items():
                for record in expressions.records():
                    line = json.dumps({'protocol': protocol, **record}, ensure_ascii=False)
                    file.write(line + '\n')
        print_log(f'Scores of each expression: {path}', logger='current')


# What a model of each task predicts.
_FIELDS = {'rec': 'bboxes', 'res': 'masks'}


def _choose_among(
    sample: dict, fields: list[str], topk: int, score_mode: str | None
) -> dict[str, Tensor]:
    """Predictions for a smaller number of candidates than the model had."""
    predicted, chosen = sample['pred_phrases'], {}
    names = dict(bboxes='ref_box' if score_mode == 'ref' else 'box', masks='mask')
    for field in fields:
        name = names[field]
        if f'{name}_candidates' not in predicted:
            raise KeyError(
                f'sample {sample["sample_id"]} keeps no {name} candidates to choose from: set '
                'keep_candidates=True and the largest topk in model.head.test_cfg'
            )
        # The overlap of a candidate with itself is among them if the model counts it.
        best = iou_nms(predicted[f'{name}_ious'][:, :topk, :topk], include_self=True)
        candidates = predicted[f'{name}_candidates']
        chosen[field] = candidates[torch.arange(len(best), device=best.device), best]
    return chosen


@dataclass
class _GroundTruth:
    """Targets of N expressions in the original image; what is not scored is None."""

    has_target: Tensor
    areas: Tensor
    boxes: Tensor | None
    masks: Tensor | None


def _ground_truth(sample: dict, fields: list[str]) -> _GroundTruth:
    if 'gt_regions' not in sample or 'links' not in sample:
        raise KeyError(
            f'sample {sample["sample_id"]} has no annotations (gt_regions, links): the metric '
            'needs the data set of an evaluation, not of inference'
        )
    regions, links = sample['gt_regions'], sample['links'].cpu()
    num_phrases, num_regions = len(sample['phrases']), len(next(iter(regions.values()), ()))
    has_target = links[:, 0].bincount(minlength=num_phrases) > 0
    if num_regions == 0:
        # Fields without an element have no shape to rely on.
        regions = dict(
            bboxes=torch.zeros(0, 4), masks=torch.zeros(0, *sample['ori_shape'], dtype=torch.bool)
        )
    for field in fields:
        if field not in regions:
            raise KeyError(
                f'sample {sample["sample_id"]} has no gt_regions.{field} to compare with: add '
                'LoadGroundingMasks to the test pipeline, or set tasks of ReferringMetric to what '
                'the data set annotates'
            )
    boxes = masks = None
    if 'bboxes' in regions:
        boxes = phrase_boxes(regions['bboxes'].cpu().double(), links, num_phrases)
        areas = box_area(boxes)
    if 'masks' in regions:
        masks = regions['masks']
        masks = phrase_masks(masks, links.to(masks.device), num_phrases)
        areas = masks.flatten(1).sum(1).double()
    return _GroundTruth(has_target, areas, boxes, masks)


def _original_scores(sample: dict, truth: _GroundTruth, fields: list[str]) -> dict[str, Tensor]:
    predicted, scores = sample['pred_phrases'], {}
    if 'bboxes' in fields:
        scores['box_ious'] = _box_scores(predicted['bboxes'], truth.boxes)
    if 'masks' in fields:
        scores |= _mask_scores(predicted['masks'], truth.masks)
    return scores


def _canvas_scores(sample: dict, truth: _GroundTruth, fields: list[str]) -> dict[str, Tensor]:
    predicted, geometry, scores = sample['pred_phrases'], sample['geometry'], {}
    geometry.check_canvas()
    if 'bboxes' in fields:
        boxes = predicted.get('canvas_bboxes')
        if boxes is None:
            boxes = geometry.boxes(predicted['bboxes'].double())
        scores['box_ious'] = _box_scores(boxes, geometry.boxes(_truncated(truth.boxes)))
    if 'masks' in fields:
        masks, targets = predicted['masks'], truth.masks
        _check_shape('masks', masks, targets)
        scores |= _mask_scores(geometry.masks(masks) > 0.5, geometry.masks(targets) > 0.5)
    return scores


# Each takes a sample, its targets and the fields to score to scores of shape (N, ).
_PROTOCOLS = {'original': _original_scores, 'canvas': _canvas_scores}


def _truncated(boxes: Tensor) -> Tensor:
    """Boxes whose x, y, width and height have lost what follows the point."""
    # Annotated are two digits; single precision has made 49.99999 of a width of 50.
    xywh = torch.cat((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), dim=1)
    xywh = xywh.round(decimals=3).trunc()
    return torch.cat((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), dim=1)


def _box_scores(boxes: Tensor, targets: Tensor) -> Tensor:
    _check_shape('bboxes', boxes, targets)
    return box_iou(boxes.cpu(), targets).nan_to_num(nan=1.0)


def _mask_scores(masks: Tensor, targets: Tensor) -> dict[str, Tensor]:
    _check_shape('masks', masks, targets)
    intersections, unions = mask_overlap(masks, targets.to(masks.device))
    ious = (intersections.double() / unions.double()).nan_to_num(nan=1.0)
    return dict(mask_ious=ious, intersections=intersections, unions=unions)


def _point_scores(predicted: dict[str, Tensor], truth: _GroundTruth) -> dict[str, Tensor]:
    """Under every protocol; nothing if the model scores no points."""
    if 'point_hit' not in predicted:
        return {}
    hits = predicted['point_hit'].bool().cpu()
    _check_shape('point_hit', hits, truth.has_target)
    return dict(point_hits=hits)


def _check_shape(field: str, predictions: Tensor, targets: Tensor) -> None:
    if predictions.shape != targets.shape:
        raise ValueError(
            f'pred_phrases.{field} is {tuple(predictions.shape)}, expected '
            f'{tuple(targets.shape)}: an element per expression, in the original image'
        )


def _parts(expressions: ScoredExpressions) -> dict[str, ScoredExpressions]:
    """All expressions, and those of each split if there are several."""
    parts = expressions.by_split()
    return {'all': expressions, **(parts if len(parts) > 1 else {})}


def _percent(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'


def _table(header: list[str], rows: list[list]) -> str:
    table = AsciiTable([header, *rows])
    table.justify_columns = dict.fromkeys(range(1, len(header)), 'right')
    return table.table
