"""Evaluate a checkpoint: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse
from collections.abc import Sequence

from mmengine.config import Config

from mmground.evaluation.dumped_results import check_results_name
from mmground.evaluation.metrics import DumpGroundingResults
from mmground.utils.cli import (
    ExactWeightsHook,
    add_runner_arguments,
    build_runner,
    check_file,
    is_local_path,
    load_config,
    run_tool,
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this tool's command line."""
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint on the test data.')
    add_runner_arguments(parser)
    parser.add_argument(
        'checkpoint',
        help="checkpoint file or URL, or 'none' for the untrained model, the floor of a score",
    )
    parser.add_argument(
        '--out',
        metavar='FILE.jsonl[.gz]',
        help='also write all predictions and their ground truth to this file, JSON lines that '
        'tools/analysis_tools read',
    )
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='write pictures of the predictions to <work dir>/<time stamp>/DIR',
    )
    return parser


def _draw_predictions(
    parser: argparse.ArgumentParser, cfg: Config, show: bool, show_dir: str | None
) -> None:
    """Switch on the config's visualization hook."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        parser.error(
            '--show and --show-dir need a hook that draws, but the config has no '
            "default_hooks.visualization: set it to dict(type='GroundingVisualizationHook')"
        )
    hook.draw = True
    if show:
        hook.show = True
    if show_dir is not None:
        hook.test_out_dir = show_dir


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Evaluate a checkpoint on the test data of a config.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Returns:
        The values of the config's metrics.

    Raises:
        SystemExit: If the command line is wrong or a file that it names does not
            exist; status 2.
        ValueError: If the checkpoint's weights are not those of the model.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.out is not None:
        try:
            check_results_name(args.out)
        except ValueError as error:
            parser.error(f'--out {error}')
    cfg = load_config(parser, args)
    if cfg.get('test_dataloader') is None:
        parser.error('this config has nothing to test (it has no test_dataloader)')
    untrained = args.checkpoint == 'none'
    if not untrained and is_local_path(args.checkpoint):
        check_file(parser, args.checkpoint, 'checkpoint')
    cfg.load_from = None if untrained else args.checkpoint
    cfg.resume = False
    if args.show or args.show_dir is not None:
        _draw_predictions(parser, cfg, args.show, args.show_dir)
    elif 'visualization' in cfg.get('default_hooks', {}):
        # A config that has validation drawn would have every test sample drawn: minutes.
        cfg.default_hooks.visualization.draw = False
    runner = build_runner(cfg)
    runner.register_hook(ExactWeightsHook())
    if args.out is not None:
        dump = DumpGroundingResults(args.out)
        dump.dataset_meta = runner.test_evaluator.dataset_meta
        runner.test_evaluator.metrics.append(dump)
    return runner.test()


if __name__ == '__main__':
    run_tool(main)
