import logging
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from terminaltables import AsciiTable

from mmground.evaluation.functional import label_groups, recall_at
from mmground.evaluation.functional.phrase_boxes import best_ious, centre_hits, recalled
from mmground.registry import METRICS
from mmground.structures import phrase_boxes

from .kept_results import to_keep, unique_results

THRESHOLDS = (0.5, 0.6, 0.7, 0.8)
TOP_K = (5, 10)
# Which of the predictions of two stages; the result, of both, has no name.
STAGES = ('', 'coarse', 'fine')


@METRICS.register_module()
class PhraseGroundingMetric(BaseMetric):
    """Accuracy of boxes for the phrases of captions, in percent.

    As `ReIR <https://arxiv.org/abs/2103.12989>`_ measures on Flickr30K Entities and ReferItGame. A
    phrase is one mention; phrases without a box do not count.

    - ``Acc@0.5`` to ``Acc@0.8``, the share of phrases whose box has that IoU or more, and ``mIoU``.
    - ``PointIt``, the share of those the centre of whose box is inside the true box, borders
      included.
    - ``R@5`` and ``R@10``, the share for which one of the 5 or 10 candidates of the highest score
      has an IoU of at least 0.5, and ``R@5_ties`` and ``R@10_ties``, where all count that score
      as the last of them does, as in the official code: many, where scores are 0. Of models that
      keep candidates.
    - ``upper_bound``, the share for which one of the proposals has an IoU of at least 0.5: no
      choice among them can be better, but moving them can. Of samples with proposals.
    - ``unmatched``, the share of phrases that are similar to the category of no proposal, for
      example because none of their words has a vector: their box is a guess. Of models that say so.
    - ``Acc@0.5/<type>`` and ``PointIt/<type>``, by the first type of the phrase.
    - ``coarse/...`` and ``fine/...``, the same of each stage by itself, as far as predicted.
    - ``num_phrases``, and ``num_without_box``.

    A sample that comes more than once, because a distributed sampler filled up its last batch, is
    counted once.

    Args:
        target: The true box of a phrase with several: ``'union'``, the smallest box around them,
            as the published protocol, or ``'any'``, the one that fits best. The latter needs the
            boxes apart: ``Flickr30kEntitiesDataset(boxes='all')``. By default that data set has
            merged them already, and both are the same, which is logged as a warning.
        collect_device: See :class:`mmengine.evaluator.BaseMetric`.
        prefix: First part of the names. None means ``'phrases'``.
        collect_dir: See :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ValueError: If there is no such target.

    Example:
        >>> val_evaluator = dict(type='PhraseGroundingMetric')
        >>> default_hooks = dict(
        ...     checkpoint=dict(type='CheckpointHook', save_best='phrases/Acc@0.5', rule='greater')
        ... )
    """

    default_prefix = 'phrases'

    def __init__(
        self,
        target: str = 'union',
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if target not in ('union', 'any'):
            raise ValueError(f"target must be 'union' or 'any', got {target!r}")
        self.target = target

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Score the phrases of a batch.

        Args:
            data_batch: Not used.
            data_samples: :class:`GroundingDataSample` objects with ``gt_regions``, ``links`` and
                ``pred_phrases``, in the form of nested dicts.

        Raises:
            KeyError: If a sample lacks annotations or predictions.
            ValueError: If predictions do not fit the phrases.
        """
        for sample in data_samples:
            self.results.append(self._scores(sample))

    def _scores(self, sample: dict) -> dict:
        name = f'sample {sample["sample_id"]}'
        if 'gt_regions' not in sample or 'links' not in sample:
            raise KeyError(
                f'{name} has no annotations (gt_regions, links): the metric needs the data set of '
                'an evaluation, not of inference'
            )
        predicted = sample.get('pred_phrases', {})
        if 'bboxes' not in predicted:
            raise KeyError(f'{name} has no pred_phrases.bboxes: the model predicts none')
        count, links = len(sample['phrases']), sample['links'].cpu()
        truth = sample['gt_regions'].get('bboxes', torch.zeros(0, 4)).cpu().double().reshape(-1, 4)
        num_boxes = links[:, 0].bincount(minlength=count)
        has_box, several = num_boxes > 0, bool((num_boxes > 1).any())
        if self.target == 'union':
            truth = phrase_boxes(truth, links, count)
            links = has_box.nonzero().expand(-1, 2)
        scores = {}
        for stage in STAGES:
            boxes = predicted.get(f'bboxes_{stage}' if stage else 'bboxes')
            if boxes is None:
                continue
            if tuple(boxes.shape) != (count, 4):
                raise ValueError(
                    f'{name}: {stage or "predicted"} boxes are {tuple(boxes.shape)}, expected '
                    f'{(count, 4)}: a box per phrase, in the original image'
                )
            boxes, key = boxes.cpu().double(), f'{stage}/' if stage else ''
            scores[f'{key}iou'] = best_ious(boxes[:, None], truth, links)[:, 0]
            scores[f'{key}PointIt'] = centre_hits(boxes, truth, links)
        if 'candidate_bboxes' in predicted:
            ious = best_ious(predicted['candidate_bboxes'].cpu().double(), truth, links)
            ranks = predicted['candidate_scores'].cpu()
            for k in TOP_K:
                scores[f'R@{k}'] = recalled(ious, ranks, k, 0.5, ties=False)
                scores[f'R@{k}_ties'] = recalled(ious, ranks, k, 0.5, ties=True)
        if 'unmatched' in predicted:
            scores['unmatched'] = predicted['unmatched'].cpu()
        if 'proposals' in sample:
            proposals = sample['proposals']['bboxes'].cpu().double().reshape(-1, 4)
            ious = best_ious(proposals.expand(count, -1, 4), truth, links)
            scores['upper_bound'] = (ious >= 0.5).any(1)
        return dict(
            sample_id=sample['sample_id'],
            types=[_first_type(phrase.get('type')) for phrase in sample['phrases']],
            has_box=to_keep(has_box),
            has_several=several,
            scores={key: to_keep(value) for key, value in scores.items()},
        )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average over phrases and print tables.

        MMEngine calls it on the main process only.

        Args:
            results: What :meth:`process` stored, of all processes.

        Returns:
            Measures by name, without the prefix.

        Raises:
            ValueError: If there is nothing to evaluate, or samples were scored differently.
        """
        results = unique_results(results, 'PhraseGroundingMetric')
        names = results[0]['scores']
        for result in results:
            if result['scores'].keys() != names.keys():
                differing = sorted(result['scores'].keys() ^ names.keys())
                raise ValueError(
                    f'the samples {results[0]["sample_id"]} and {result["sample_id"]} were scored '
                    f'differently: one of them has no {", ".join(differing)}'
                )
        has_box = np.concatenate([result['has_box'] for result in results])
        types = np.concatenate([_objects(result['types']) for result in results])[has_box]
        scores = {
            name: np.concatenate([result['scores'][name] for result in results])[has_box]
            for name in names
        }
        metrics = {}
        for name, values in scores.items():
            if not name.endswith('iou'):
                metrics[name] = _percent(values)
                continue
            stage = name.removesuffix('iou')
            for threshold in THRESHOLDS:
                metrics[f'{stage}Acc@{threshold}'] = 100 * recall_at(values, threshold, False)
            metrics[f'{stage}mIoU'] = _percent(values)
        by_type = {}
        for type_, members in label_groups(types).items():
            by_type[type_] = (
                int(members.sum()),
                100 * recall_at(scores['iou'][members], 0.5, False),
                _percent(scores['PointIt'][members]),
            )
            metrics[f'Acc@0.5/{type_}'], metrics[f'PointIt/{type_}'] = by_type[type_][1:]
        # Floats, since the log's JSON file has null for integers.
        metrics['num_phrases'] = float(has_box.sum())
        metrics['num_without_box'] = float((~has_box).sum())
        if self.target == 'any' and not any(result['has_several'] for result in results):
            print_log(
                "no phrase has several boxes, so that target='any' is the same as 'union': if the "
                "data set has merged them, set its boxes='all' (Flickr30kEntitiesDataset)",
                logger='current',
                level=logging.WARNING,
            )
        self._print(metrics, by_type)
        return metrics

    def _print(self, metrics: dict[str, float], by_type: dict[str, tuple]) -> None:
        columns = [*(f'Acc@{threshold}' for threshold in THRESHOLDS), 'mIoU', 'PointIt']
        rows = [
            [
                stage or 'result',
                *(f'{metrics[f"{stage}/{own}".lstrip("/")]:.2f}' for own in columns),
            ]
            for stage in STAGES
            if f'{stage}/mIoU'.lstrip('/') in metrics
        ]
        others = [
            f'{name} {metrics[name]:.2f}'
            for name in ('R@5', 'R@5_ties', 'R@10', 'R@10_ties', 'upper_bound', 'unmatched')
            if name in metrics
        ]
        text = (
            f"Phrase grounding, {self.target} of a phrase's boxes; {metrics['num_phrases']:.0f} "
            f'phrases, {metrics["num_without_box"]:.0f} more without a box\n'
            + _table(['', *columns], rows)
        )
        if others:
            text += '\n' + ', '.join(others)
        if by_type:
            rows = [
                [name, count, f'{accuracy:.2f}', f'{point:.2f}']
                for name, (count, accuracy, point) in by_type.items()
            ]
            text += '\n' + _table(['type', 'phrases', 'Acc@0.5', 'PointIt'], rows)
        print_log(text, logger='current')


def _first_type(types: str | Sequence[str] | None) -> str:
    """Flickr30K Entities gives some phrases several types, ``'clothing/other'``."""
    if not types:
        return ''
    return types.split('/')[0] if isinstance(types, str) else types[0]


def _objects(values: list) -> np.ndarray:
    # Objects: a fixed width would take that of the longest for each.
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _percent(values: np.ndarray) -> float:
    return 100 * float(values.mean()) if len(values) else float('nan')


def _table(header: list[str], rows: list[list]) -> str:
    table = AsciiTable([header, *rows])
    table.justify_columns = dict.fromkeys(range(1, len(header)), 'right')
    return table.table
