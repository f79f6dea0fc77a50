"""How far one comes without learning: baselines for phrases that choose among proposals (ReIR).

On the test data of a config, with its proposals, it measures

- ``random``: a proposal drawn at random for each phrase;
- ``similarity``: the proposal whose category is most similar to the phrase (s^a), of several the
  one of which the detector is surest;
- ``untrained``: the config's model before its training, with the weights that the config names for
  its frozen parts.

With ``--out-dir`` the predictions are written to ``random.jsonl.gz`` and so on, to be compared with
those of a trained model by ``compare_results.py --task phrases``. Example::

    python tools/analysis_tools/phrase_baselines.py configs/reir/reir_r18_shapes.py --out-dir out
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed
from mmengine.structures import InstanceData
from mmengine.utils import track_iter_progress
from torch import Tensor

from mmground.evaluation import DumpGroundingResults, PhraseGroundingMetric
from mmground.models.heads import WeakGroundingHead
from mmground.registry import MODELS
from mmground.structures import GroundingDataSample
from mmground.utils import register_all_modules
from mmground.utils.checkpoint import register_checkpoint_loaders
from mmground.utils.cli import add_cfg_options, add_trust_argument, check_device, load_config

NAMES = ('random', 'similarity', 'untrained')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this tool's command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, with test data that have proposals')
    parser.add_argument('--out-dir', help='folder for the predictions')
    parser.add_argument('--seed', type=int, default=0, help='of all that is drawn (%(default)s)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add_cfg_options(parser)
    add_trust_argument(parser)
    parser.set_defaults(work_dir=None, launcher='none', local_rank=0)
    return parser


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """Measure, print tables.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Returns:
        By baseline the measures of :class:`PhraseGroundingMetric`.

    Raises:
        SystemExit: If a file does not exist, or the model is of another kind; status 2.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    check_device(parser, args.device)
    cfg = load_config(parser, args)
    register_all_modules()
    init_default_scope(cfg.get('default_scope', 'mmground'))
    register_checkpoint_loaders(args.trust_checkpoint)
    set_random_seed(args.seed)
    model = MODELS.build(cfg.model)
    if not isinstance(getattr(model, 'head', None), WeakGroundingHead):
        parser.error(f'the model does not choose among proposals of phrases: {args.config}')
    model.init_weights()
    model.to(args.device).eval()
    loader = Runner.build_dataloader(cfg.test_dataloader, seed=args.seed)
    outputs = {name: [PhraseGroundingMetric()] for name in NAMES}
    if args.out_dir is not None:
        Path(args.out_dir).mkdir(parents=True, exist_ok=True)
        for name, own in outputs.items():
            own.append(DumpGroundingResults(str(Path(args.out_dir) / f'{name}.jsonl.gz')))
    generator = torch.Generator().manual_seed(args.seed)
    for batch in track_iter_progress((iter(loader), len(loader))):
        data = model.data_preprocessor(batch, False)
        samples = data['data_samples']
        similarities = _similarities(model, samples)
        model(**data, mode='predict')
        for index, sample in enumerate(samples):
            scores = dict(
                random=torch.rand(similarities[index].shape, generator=generator),
                similarity=_prefer_sure(similarities[index], sample.proposals.scores.cpu()),
            )
            found = {name: _choose(sample, own) for name, own in scores.items()}
            found['untrained'] = sample.pred_phrases
            for name, predicted in found.items():
                sample.pred_phrases = predicted
                for metric in outputs[name]:
                    metric.process(None, [sample.to_dict()])
    measures = {name: {} for name in outputs}
    for name, metrics in outputs.items():
        print(f'\n{name}:')
        for metric in metrics:
            measures[name] |= metric.evaluate(len(loader.dataset))
    return measures


def _similarities(model, samples: Sequence[GroundingDataSample]) -> list[Tensor]:
    """s^a of the phrases of each sample with its proposals, (phrases, proposals)."""
    _, phrases = model.head.pack(model.encode_text(samples), samples)
    found = phrases.semantic.cpu()
    return [
        own[:, : len(sample.proposals.bboxes)]
        for own, sample in zip(found.split(phrases.counts), samples, strict=True)
    ]


def _prefer_sure(similarity: Tensor, scores: Tensor) -> Tensor:
    """Scores by which the most similar proposal comes first, of equals the surest."""
    best = similarity >= similarity.amax(1, keepdim=True) - 1e-6
    return torch.where(best, scores.expand_as(similarity), scores.min() - 1)


def _choose(sample: GroundingDataSample, scores: Tensor) -> InstanceData:
    """The proposal of the highest score for each phrase."""
    chosen = scores.argmax(1)
    boxes = sample.proposals.bboxes.cpu()
    return InstanceData(
        bboxes=boxes[chosen],
        scores=scores.amax(1),
        candidate_bboxes=boxes.expand(len(scores), -1, -1),
        candidate_scores=scores,
    )


if __name__ == '__main__':
    main()
