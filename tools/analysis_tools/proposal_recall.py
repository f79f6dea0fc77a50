"""How accurate a system can be that chooses among the proposals of a detector.

Such is PBREC: its boxes and masks are those of frozen detectors. For each split of the config's
test data this tells the share of expressions that have a proposal of sufficient IoU (the paper's
Table 1), which nothing that chooses a proposal can exceed, and the accuracy of a proposal that is
drawn at random. IoUs are those of the original image. Proposals are

- of the config's localisers: all points of their grids, also those on the padding; a random one is
  drawn among the points on the image. Without CHECKPOINT the weights are those that the config
  names for each localiser;
- with --detector, what a detector of mmdet finds after its non-maximum suppression: the --counts
  best, or those that reach one of --scores.

Examples::

    python tools/analysis_tools/proposal_recall.py CONFIG CHECKPOINT
    python tools/analysis_tools/proposal_recall.py CONFIG --detector MASK_RCNN_CONFIG MASK_RCNN.pth
    python tools/analysis_tools/proposal_recall.py CONFIG --detector ... --counts 10 --scores 0.65
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from mmdet.apis import inference_detector
from mmdet.utils import get_test_pipeline_cfg
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.utils import track_iter_progress
from terminaltables import AsciiTable
from torch import Tensor

from mmground.apis import init_model
from mmground.datasets.transforms import LoadGroundingImage
from mmground.evaluation.functional import box_iou, pairwise_mask_iou, proposal_scores
from mmground.models.localisers import BoxProposals, MaskProposals
from mmground.registry import DATASETS, MODELS
from mmground.structures import Geometry, GroundingDataSample, phrase_boxes, phrase_masks
from mmground.utils import register_all_modules
from mmground.utils.checkpoint import load_weights, read_checkpoint
from mmground.utils.cli import (
    add_cfg_options,
    add_trust_argument,
    check_device,
    check_file,
    load_config,
)

# Masks at the size of the image are compared in portions, to bound the memory.
_PORTION = 32


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this tool's command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, with the test data and the localisers')
    parser.add_argument('checkpoint', nargs='?', help='weights of the whole model, a local file')
    parser.add_argument(
        '--detector',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help="a detector of mmdet, instead of the config's localisers",
    )
    parser.add_argument(
        '--counts',
        nargs='+',
        type=int,
        default=[100],
        metavar='N',
        help='proposals of --detector per image, the best (100)',
    )
    parser.add_argument(
        '--scores',
        nargs='+',
        type=float,
        default=[],
        metavar='SCORE',
        help='scores that proposals of --detector must reach',
    )
    parser.add_argument('--iou', type=float, default=0.5, help='sufficient IoU (%(default)s)')
    parser.add_argument(
        '--strict', action='store_true', help='the IoU must exceed --iou; it may equal it otherwise'
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--out', metavar='FILE.json', help='also write the results to this file')
    add_cfg_options(parser)
    add_trust_argument(parser)
    parser.set_defaults(work_dir=None, launcher='none', local_rank=0)
    return parser


def main(argv: Sequence[str] | None = None) -> list[dict]:
    """Measure, print a table.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Returns:
        A dict for each kind of proposals and split: ``proposals`` (their name), ``split``,
        ``num_expressions`` (with a target), ``per_image`` (mean number of proposals), and in
        percent ``recall`` and ``random``.

    Raises:
        SystemExit: If a file does not exist, or the config has no localisers; status 2.
        ValueError: If a checkpoint does not fit its model.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    check_device(parser, args.device)
    cfg = load_config(parser, args)
    register_all_modules()
    init_default_scope(cfg.get('default_scope', 'mmground'))
    if args.detector is not None:
        check_file(parser, args.detector[0], 'config file of the detector')
        check_file(parser, args.detector[1], 'checkpoint of the detector')
        source = _Detector(*args.detector, args.counts, args.scores, args)
        init_default_scope(cfg.get('default_scope', 'mmground'))
    else:
        if not any((cfg.model.get('localisers') or {}).values()):
            parser.error(f'the model has no localisers, and there is no --detector: {args.config}')
        if args.checkpoint is not None:
            check_file(parser, args.checkpoint, 'checkpoint')
        source = _Localisers(cfg.model, args)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    tallies: dict[tuple[str, str], _Tally] = {}
    items = track_iter_progress((_iterate(dataset), len(dataset)))
    with torch.no_grad():
        for _, group in groupby(items, key=_image_of):
            group = list(group)
            splits = [_split_of(item['data_samples']) for item in group]
            for found in source(group, _Targets.of(group, args.device)):
                reached, chance = proposal_scores(found.ious, found.drawn, args.iou, args.strict)
                for split in dict.fromkeys(splits):
                    own = torch.tensor([name == split for name in splits], device=reached.device)
                    own &= found.has_target
                    tally = tallies.setdefault((found.name, split), _Tally())
                    tally.add(len(found.ious), reached[own], chance[own])
    results = [
        dict(proposals=name, split=split, **tally.summary())
        for (name, split), tally in tallies.items()
    ]
    print(f'\nIoU {">" if args.strict else ">="} {args.iou}, in percent of the expressions')
    print(_table(results))
    if args.out is not None:
        Path(args.out).write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')
    return results


def _iterate(dataset) -> Iterator[dict]:
    for index in range(len(dataset)):
        yield dataset[index]


def _image_of(item: dict) -> tuple[str, Geometry]:
    return item['data_samples'].img_path, item['data_samples'].geometry


def _split_of(sample: GroundingDataSample) -> str:
    return '_'.join(sample.get(key) for key in ('dataset', 'split') if sample.get(key)) or 'all'


@dataclass
class _Targets:
    """What E expressions about an image refer to, in the original image; None if not annotated."""

    has_target: Tensor
    boxes: Tensor | None
    masks: Tensor | None

    @classmethod
    def of(cls, items: Sequence[dict], device: str) -> '_Targets':
        samples = [item['data_samples'] for item in items]
        if any(len(sample.phrases) != 1 for sample in samples):
            raise ValueError('a referring expression is one phrase, its whole text')
        boxes = masks = None
        if all('bboxes' in sample.gt_regions for sample in samples):
            boxes = torch.cat([phrase_boxes(s.gt_regions.bboxes, s.links, 1) for s in samples])
            boxes = boxes.to(device)
        if all('masks' in sample.gt_regions for sample in samples):
            masks = torch.cat([phrase_masks(s.gt_regions.masks, s.links, 1) for s in samples])
            masks = masks.to(device)
        has_target = torch.tensor([len(sample.links) > 0 for sample in samples], device=device)
        return cls(has_target, boxes, masks)


@dataclass
class _Found:
    """Proposals of an image: their name, IoU with each target (P, E), and which chance draws."""

    name: str
    ious: Tensor
    has_target: Tensor
    drawn: Tensor | None = None


class _Localisers:
    """The config's localisers, each once for an image."""

    def __init__(self, model_cfg: dict, args: argparse.Namespace) -> None:
        self.device = args.device
        self.preprocessor = MODELS.build(model_cfg.data_preprocessor).to(args.device)
        # A config switches an inherited localiser off by None.
        self.localisers = {
            name: MODELS.build(cfg) for name, cfg in model_cfg.localisers.items() if cfg is not None
        }
        weights = None
        if args.checkpoint is not None:
            weights = read_checkpoint(args.checkpoint, args.trust_checkpoint)
        for name, localiser in self.localisers.items():
            if weights is None:
                localiser.init_weights()
                if not localiser.has_weights:
                    raise ValueError(
                        f'the localiser {name!r} has no weights: give a checkpoint of the model, '
                        f'or set model.localisers.{name}.checkpoint'
                    )
            else:
                prefix = f'localisers.{name}.'
                own = {
                    key.removeprefix(prefix): value
                    for key, value in weights['state_dict'].items()
                    if key.startswith(prefix)
                }
                load_weights(localiser, {**weights, 'state_dict': own}, args.checkpoint)
            localiser.to(args.device)

    def __call__(self, items: Sequence[dict], targets: _Targets) -> Iterator[_Found]:
        first = items[0]
        batch = dict(inputs=[first['inputs']], data_samples=[first['data_samples']])
        batch = self.preprocessor(batch, False)
        geometry = batch['data_samples'][0].geometry
        canvas = self.preprocessor.raw_canvas(batch['inputs'])
        for name, localiser in self.localisers.items():
            proposals = localiser(canvas, [geometry])
            if isinstance(proposals, BoxProposals):
                if targets.boxes is None:
                    continue
                ious = _box_ious(geometry.inverse_boxes(proposals.boxes[0]), targets.boxes)
            else:
                if targets.masks is None:
                    continue
                ious = self._mask_ious(proposals, geometry, targets.masks)
            drawn = geometry.valid_cells(proposals.grid).flatten().to(ious.device)
            yield _Found(f'{name}, all points', ious, targets.has_target, drawn)

    def _mask_ious(self, proposals: MaskProposals, geometry: Geometry, targets: Tensor) -> Tensor:
        points = torch.arange(len(proposals.points), device=self.device)
        ious = []
        for portion in points.split(_PORTION):
            probs = proposals.decode(torch.zeros_like(portion), portion)
            ious.append(pairwise_mask_iou(geometry.inverse_masks(probs) > 0.5, targets))
        return torch.cat(ious)


class _Detector:
    """A detector of mmdet, as it would be used by itself."""

    def __init__(
        self,
        config: str,
        checkpoint: str,
        counts: Sequence[int],
        scores: Sequence[float],
        args: argparse.Namespace,
    ) -> None:
        # It leaves the detector's default scope.
        self.model = init_model(
            config, checkpoint, args.device, trust_checkpoint=args.trust_checkpoint
        )
        self.counts, self.scores = counts, scores
        self.load = LoadGroundingImage()
        pipeline = get_test_pipeline_cfg(self.model.cfg)
        pipeline[0].type = 'mmdet.LoadImageFromNDArray'
        with DefaultScope.overwrite_default_scope(self.model.cfg.get('default_scope', 'mmdet')):
            self.pipeline = Compose(pipeline)

    def __call__(self, items: Sequence[dict], targets: _Targets) -> Iterator[_Found]:
        sample = items[0]['data_samples']
        image = self.load(dict(img_path=sample.img_path, sample_id=sample.sample_id))['img']
        found = inference_detector(self.model, image, self.pipeline).pred_instances
        found = found[found.scores.argsort(descending=True, stable=True)]
        ious = {}
        if 'bboxes' in found and targets.boxes is not None:
            ious['boxes'] = _box_ious(found.bboxes, targets.boxes)
        if 'masks' in found and targets.masks is not None:
            portions = found.masks.bool().split(_PORTION)
            ious['masks'] = torch.cat([pairwise_mask_iou(own, targets.masks) for own in portions])
        chosen = {f'best {count}': slice(count) for count in self.counts}
        chosen |= {f'score >= {score:g}': found.scores >= score for score in self.scores}
        for kind, own in ious.items():
            for name, members in chosen.items():
                yield _Found(f'{kind}, {name}', own[members], targets.has_target)


def _box_ious(boxes: Tensor, targets: Tensor) -> Tensor:
    """Of all boxes with all targets, (P, E)."""
    return box_iou(boxes[:, None], targets)


class _Tally:
    """Sums over the expressions of a split."""

    def __init__(self) -> None:
        self.images = self.proposals = self.expressions = 0
        self.reached = self.chance = 0.0

    def add(self, num_proposals: int, reached: Tensor, chance: Tensor) -> None:
        self.images += 1
        self.proposals += num_proposals
        self.expressions += len(reached)
        self.reached += reached.sum().item()
        self.chance += chance.sum().item()

    def summary(self) -> dict:
        def percent(total: float) -> float:
            return 100 * total / self.expressions if self.expressions else float('nan')

        return dict(
            num_expressions=self.expressions,
            per_image=self.proposals / self.images,
            recall=percent(self.reached),
            random=percent(self.chance),
        )


def _table(results: Sequence[dict]) -> str:
    rows = [['proposals', 'split', 'expressions', 'per image', 'recall', 'random one']]
    for result in results:
        row = [result['proposals'], result['split'], str(result['num_expressions'])]
        row += [f'{result[key]:.{digits}f}' for key, digits in _DIGITS.items()]
        rows.append(row)
    table = AsciiTable(rows)
    table.justify_columns = dict.fromkeys(range(2, 6), 'right')
    return table.table


_DIGITS = dict(per_image=1, recall=2, random=2)


if __name__ == '__main__':
    main()
