"""Train a model: ``python tools/train.py CONFIG``."""

import argparse
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.device import get_device

from mmground.utils.cli import (
    ExactWeightsHook,
    SharedWeightsHook,
    add_runner_arguments,
    build_runner,
    check_file,
    check_initial_weights,
    is_local_path,
    load_config,
    run_tool,
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this tool's command line."""
    parser = argparse.ArgumentParser(description='Train a model.')
    add_runner_arguments(parser)
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by (real batch size / auto_scale_lr.base_batch_size)',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint or, without a value, from the latest one in the '
        'work folder, where there is one',
    )
    return parser


def _use_amp(parser: argparse.ArgumentParser, cfg: Config) -> None:
    """Turn the config's optimizer wrapper into the one of mixed precision."""
    wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if wrapper not in ('OptimWrapper', 'AmpOptimWrapper', 'CPUAmpOptimWrapper'):
        parser.error(
            f'--amp replaces an OptimWrapper, but optim_wrapper.type is {wrapper}: '
            'set mixed precision in the config'
        )
    if get_device() == 'cpu':
        if cfg.optim_wrapper.get('dtype', 'bfloat16') != 'bfloat16':
            parser.error(
                f'optim_wrapper.dtype is {cfg.optim_wrapper.dtype}, but mixed precision on the '
                'CPU is bfloat16'
            )
        cfg.optim_wrapper.type = 'CPUAmpOptimWrapper'
        # bfloat16 has the range of float32.
        for key in ('dtype', 'loss_scale'):
            cfg.optim_wrapper.pop(key, None)
        return
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def main(argv: Sequence[str] | None = None) -> None:
    """Train the model of a config.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Raises:
        SystemExit: If the command line is wrong or a file that it names does not
            exist; status 2.
        FileNotFoundError: If a part of the model starts from a file that does not exist.
        ValueError: If a checkpoint cannot be read safely or is not the model's.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    cfg = load_config(parser, args)
    if args.amp:
        _use_amp(parser, cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            parser.error(
                '--auto-scale-lr needs the batch size that the learning rate was chosen for, '
                f'but {args.config} has no auto_scale_lr.base_batch_size'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None
        if args.resume != 'auto':
            if is_local_path(args.resume):
                check_file(parser, args.resume, 'checkpoint')
            cfg.load_from = args.resume
    check_initial_weights(cfg)
    runner = build_runner(cfg)
    runner.register_hook(ExactWeightsHook() if cfg.get('resume') else SharedWeightsHook())
    runner.train()


if __name__ == '__main__':
    run_tool(main)
