from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from terminaltables import AsciiTable
from torch import Tensor

from mmground.evaluation.functional import (
    average_recall,
    mask_iou,
    recall_at,
    recall_curve,
    save_recall_curves,
    soft_mask_iou,
)
from mmground.registry import METRICS
from mmground.structures import grid_targets, phrase_flags, phrase_masks

from .kept_results import to_keep, unique_results


@METRICS.register_module()
class PNGMetric(BaseMetric):
    """Average recall of panoptic narrative grounding.

    Every phrase counts once, whichever narrative it stands in. A phrase is scored by
    the IoU of its predicted mask with the union of its regions, under one or more
    protocols, which differ in the grid:

    - ``'original'``: ``pred_phrases.masks`` on the pixels of the original image,
      against the exact ground truth.
    - ``'ppmn'``: the grid of the published PPMN and DRMN numbers, a quarter of the
      padded canvas. ``pred_phrases.grid_probs`` above 0.5, against
      :func:`grid_targets`. Padding is scored too: what is predicted
      there is wrong.
    - ``'png256'``: the grid of the baseline's official code. ``pred_phrases.masks`` and the
      exact ground truth are both resized to 256 x 256 cells, whatever the shape of the
      image, and back to its size, each time bilinearly without antialiasing. In between the
      prediction is rounded to {0, 1}, because the official code resizes it as an integer
      mask; the ground truth stays as it is. The IoU is that of the two soft masks, see
      :func:`soft_mask_iou`: it is below 1 even for a perfect prediction. (The version of
      torchvision decides how integers are made there: old ones cut off what follows the
      point, which erodes predictions. Here 0.5 and less is background.)

    Values are percentages, as the papers print them, named
    ``<prefix>/<protocol>/<measure>[_<split>]`` whatever the number of protocols::

        png/original/AR          png/original/recall@0.5
        png/original/AR_things   png/original/recall@0.5_things   (stuff, singulars, plurals)
        png/num_phrases          png/num_dropped

    ``num_phrases`` and ``num_dropped`` are counts. Dropped phrases are those that the
    model says it could not encode (``pred_phrases.dropped``); they are scored like any
    other, with the empty mask that they were given. The splits follow the annotated
    links, see :func:`phrase_flags`. A split without phrases is NaN. A phrase that
    neither the prediction nor the target covers has an IoU of NaN and counts as missed.

    A sample that comes more than once, because a distributed sampler filled up its
    last batch, is counted once and warned about. For each phrase, only IoU and split
    are kept.

    Args:
        protocol: ``'original'``, ``'ppmn'``, ``'png256'`` or a list of them.
        threshold_step: Distance between the IoU thresholds, see
            :func:`average_recall`.
        curve_dir: Folder for the recall curves, ``recall_<protocol>.csv`` and ``.png``,
            with a curve per split. Each evaluation replaces them. None writes nothing.
        collect_device: Device on which results of several processes are collected,
            ``'cpu'`` or ``'gpu'``.
        prefix: First part of the names. None means ``'png'``.
        collect_dir: Folder through which results are collected on the CPU.

    Example:
        >>> val_evaluator = dict(type='PNGMetric', protocol=['original', 'ppmn'])
        >>> default_hooks = dict(
        ...     checkpoint=dict(
        ...         type='CheckpointHook', save_best='png/original/AR', rule='greater'
        ...     )
        ... )
    """

    default_prefix = 'png'

    def __init__(
        self,
        protocol: str | Sequence[str] = 'original',
        threshold_step: float = 1e-5,
        curve_dir: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.protocols = [protocol] if isinstance(protocol, str) else list(protocol)
        if not self.protocols or not set(self.protocols) <= set(_PROTOCOLS):
            raise ValueError(f'protocol must be among {list(_PROTOCOLS)}, got {protocol!r}')
        if not 0 < threshold_step < 1:
            raise ValueError(f'threshold_step must be in (0, 1), got {threshold_step}')
        self.threshold_step = threshold_step
        self.curve_dir = curve_dir

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Score the phrases of a batch.

        Args:
            data_batch: Not used.
            data_samples: :class:`GroundingDataSample` objects with ``gt_regions``,
                ``links`` and ``pred_phrases``, in the form of nested dicts.

        Raises:
            KeyError: If a sample lacks annotations or predictions.
            ValueError: If predictions do not fit the phrases or the image, or if a
                phrase has no region.
        """
        for sample in data_samples:
            targets, is_plural, is_thing = _ground_truth(sample)
            ious = {
                protocol: to_keep(_PROTOCOLS[protocol](sample, targets))
                for protocol in self.protocols
            }
            dropped = sample['pred_phrases'].get('dropped')
            self.results.append(
                dict(
                    sample_id=sample['sample_id'],
                    ious=ious,
                    is_plural=to_keep(is_plural),
                    is_thing=to_keep(is_thing),
                    num_dropped=0 if dropped is None else int(dropped.sum()),
                )
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average over phrases, print a table, write the curves.

        MMEngine calls it on the main process only.

        Args:
            results: What :meth:`process` stored, of all processes.

        Returns:
            Measures by name, without the prefix.
        """
        results = unique_results(results, 'PNGMetric')
        splits = _splits(
            is_plural=np.concatenate([result['is_plural'] for result in results]),
            is_thing=np.concatenate([result['is_thing'] for result in results]),
        )
        table = {name: [name, int(members.sum())] for name, members in splits.items()}
        metrics = {}
        for protocol in self.protocols:
            ious = np.concatenate([result['ious'][protocol] for result in results])
            for name, members in splits.items():
                suffix = '' if name == 'all' else f'_{name}'
                ar = 100 * average_recall(ious[members], self.threshold_step)
                recall = 100 * recall_at(ious[members], 0.5)
                metrics[f'{protocol}/AR{suffix}'] = ar
                metrics[f'{protocol}/recall@0.5{suffix}'] = recall
                table[name] += [f'{ar:.2f}', f'{recall:.2f}']
            if self.curve_dir is not None:
                self._save_curves(protocol, ious, splits)
        # Floats, since the log's JSON file has null for integers.
        metrics['num_phrases'] = float(len(splits['all']))
        metrics['num_dropped'] = float(sum(result['num_dropped'] for result in results))

        header = ['phrases', 'number']
        for protocol in self.protocols:
            header += [f'{protocol} AR', f'{protocol} recall@0.5']
        rows = AsciiTable([header, *table.values()])
        rows.justify_columns = dict.fromkeys(range(1, len(header)), 'right')
        print_log(
            f'Panoptic narrative grounding, {len(results)} narratives, '
            f'{metrics["num_dropped"]:.0f} phrases dropped by the model\n{rows.table}',
            logger='current',
        )
        return metrics

    def _save_curves(self, protocol: str, ious: np.ndarray, splits: dict) -> None:
        thresholds = np.linspace(0, 1, 101)
        curves = {name: recall_curve(ious[members], thresholds) for name, members in splits.items()}
        path = Path(self.curve_dir) / f'recall_{protocol}'
        save_recall_curves(curves, thresholds, path, title=f'protocol {protocol}')
        print_log(f'Recall curves: {path}.csv and {path}.png', logger='current')


def _ground_truth(sample: dict) -> tuple[Tensor, Tensor, Tensor]:
    """Phrase masks (N, ori_h, ori_w), plural flags (N, ) and thing flags (N, )."""
    sample_id = sample['sample_id']
    regions = sample.get('gt_regions', {})
    if 'masks' not in regions or 'is_thing' not in regions or 'links' not in sample:
        raise KeyError(
            f'sample {sample_id} has no annotated regions (gt_regions.masks, '
            'gt_regions.is_thing, links): add LoadGroundingMasks to the test pipeline'
        )
    num_phrases = len(sample['phrases'])
    masks, links = regions['masks'], sample['links'].to(regions['masks'].device)
    is_thing = regions['is_thing'].to(masks.device)
    try:
        flags = phrase_flags(is_thing, links, num_phrases)
    except ValueError as error:
        raise ValueError(f'sample {sample_id}: {error}') from error
    return phrase_masks(masks, links, num_phrases), *flags


def _original_ious(sample: dict, targets: Tensor) -> Tensor:
    masks = _prediction(sample, 'masks', 'the model predicts no masks')
    _check_shape(sample, 'masks', masks, targets, 'the original image')
    return mask_iou(masks, targets.to(masks.device))


def _ppmn_ious(sample: dict, targets: Tensor) -> Tensor:
    probs = _prediction(
        sample,
        'grid_probs',
        "set keep_grid_probs=True in model.head.test_cfg, or leave out the protocol 'ppmn'",
    )
    targets = grid_targets(targets.to(probs.device), sample['geometry'])
    _check_shape(sample, 'grid_probs', probs, targets, 'a quarter of the canvas')
    return mask_iou(probs > 0.5, targets)


def _png256_ious(sample: dict, targets: Tensor) -> Tensor:
    masks = _prediction(sample, 'masks', 'the model predicts no masks')
    _check_shape(sample, 'masks', masks, targets, 'the original image')
    shape = targets.shape[1:]
    # Rounding halves to even makes background of exactly a half.
    coarse = _resize(masks.float(), (256, 256)).round()
    soft_targets = _resize(targets.to(masks.device).float(), (256, 256))
    return soft_mask_iou(_resize(coarse, shape), _resize(soft_targets, shape))


def _resize(masks: Tensor, shape: tuple[int, int]) -> Tensor:
    return F.interpolate(masks[:, None], size=shape, mode='bilinear', align_corners=False)[:, 0]


# Each takes a sample and its phrase masks (N, ori_h, ori_w) to IoUs of shape (N, ).
_PROTOCOLS = {'original': _original_ious, 'ppmn': _ppmn_ious, 'png256': _png256_ious}


def _prediction(sample: dict, field: str, remedy: str) -> Tensor:
    predictions = sample.get('pred_phrases', {})
    if field not in predictions:
        raise KeyError(f'sample {sample["sample_id"]} has no pred_phrases.{field}: {remedy}')
    return predictions[field]


def _check_shape(sample: dict, field: str, predictions: Tensor, targets: Tensor, grid: str) -> None:
    if len(predictions) != len(targets):
        raise ValueError(
            f'sample {sample["sample_id"]} has {len(targets)} phrases, but {len(predictions)} '
            f'predictions (pred_phrases.{field}): a model predicts an element per phrase, in '
            'order, and an empty mask for one that it cannot encode'
        )
    if predictions.shape != targets.shape:
        raise ValueError(
            f'sample {sample["sample_id"]}: pred_phrases.{field} is {tuple(predictions.shape)}, '
            f'expected {tuple(targets.shape)}, on {grid}'
        )


def _splits(is_plural: np.ndarray, is_thing: np.ndarray) -> dict[str, np.ndarray]:
    """Which phrases belong to each split, boolean, shape (N, )."""
    return {
        'all': np.ones(len(is_plural), dtype=bool),
        'singulars': ~is_plural,
        'plurals': is_plural,
        'things': is_thing,
        'stuff': ~is_thing,
    }
