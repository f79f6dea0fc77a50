"""What the command line tools share: arguments, config loading, and the runner."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint

from .checkpoint import load_or_describe, register_checkpoint_loaders
from .config_options import check_config_name, merge_options
from .dist import prepare_distributed_cpu
from .model_wrapper import unwrap_model

_PACKAGE = Path(__file__).parents[1]
_LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every tool that builds a runner from a config.

    These are ``config``, ``--work-dir``, ``--cfg-options``, ``--launcher`` and
    ``--local_rank``, with OpenMMLab's names and meanings, and ``--trust-checkpoint``.

    Args:
        parser: The tool's parser, changed in place. ``config`` becomes its next
            positional argument.
    """
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir',
        help='folder of logs and checkpoints; by default the work_dir of the config, or else '
        './work_dirs/<name of the config file>',
    )
    add_cfg_options(parser)
    parser.add_argument(
        '--launcher', choices=_LAUNCHERS, default='none', help='what started the processes'
    )
    add_trust_argument(parser)
    # Both spellings are passed by launchers: the first by old ones, the second by torch >= 2.0.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, the same in every tool that reads a config.

    Args:
        parser: The tool's parser, changed in place.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings that override those of the config, such as train_dataloader.batch_size=4; '
        'a list is written key="[a,b]" or key=a,b, without white space',
    )


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-checkpoint``, the same in every tool that reads checkpoints.

    Args:
        parser: The tool's parser, changed in place.
    """
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load any Python object from the checkpoint, which can run any code; without it only '
        'weights and plain data are accepted',
    )


def run_tool(main: Callable[[], object]) -> None:
    """Run a tool's ``main``; what is wrong with its input is one line, and no traceback.

    A ValueError or FileNotFoundError that a ``raise`` of mmground's own, or of the tool that is
    run, raises says what is wrong with a file, a config or a record, and what to do. Any other
    error, and such an error from anywhere else, is unexpected and keeps its traceback.

    Args:
        main: The tool's entry point, which takes no arguments.

    Raises:
        SystemExit: If the input is wrong; status 1.
    """
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        origin = traceback.extract_tb(error.__traceback__)[-1]
        file = Path(origin.filename).resolve()
        ours = file.is_relative_to(_PACKAGE) or file == Path(sys.argv[0]).resolve()
        if not (ours and origin.line.startswith('raise ')):
            raise
        raise SystemExit(f'error: {error}') from error


def check_device(parser: argparse.ArgumentParser, device: str | None) -> None:
    """Exit with the parser's usage message and one error if there is no such device.

    Args:
        parser: The tool's parser.
        device: As for :class:`torch.device`. None is whatever there is.

    Raises:
        SystemExit: If the name is of no device, or this PyTorch or machine has none of the kind;
            status 2.
    """
    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        # Of many lines, the first says what is the matter.
        parser.error(f'--device {device} cannot be used: {str(error).splitlines()[0]}')


def add_inference_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, ``--trust-checkpoint`` and ``--cfg-options`` of tools that run a model.

    Call :func:`check_device` on what is parsed.

    Args:
        parser: The tool's parser, changed in place.
    """
    parser.add_argument('--device', help='device to run on; a GPU if there is one by default')
    add_trust_argument(parser)
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='settings of the config: key=value'
    )


def is_local_path(path: str) -> bool:
    """Whether a checkpoint's name is a path of this machine.

    The others have a prefix that MMEngine's loaders understand, as in
    ``https://...``, ``s3://...`` or ``torchvision://resnet18``.
    """
    return '://' not in path


def check_file(parser: argparse.ArgumentParser, path: str, what: str) -> None:
    """Exit with the parser's usage message and one error if a local file does not exist.

    Args:
        parser: The tool's parser.
        path: The file, relative to the working directory or absolute.
        what: What the file is, as the error calls it.

    Raises:
        SystemExit: If there is no such file; status 2.
    """
    if Path(path).is_file():
        return
    reason = 'is a folder' if Path(path).is_dir() else 'does not exist'
    where = '' if Path(path).is_absolute() else f' (looked for in {Path.cwd()})'
    parser.error(f'{what} {reason}: {path}{where}')


def load_config(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Config:
    """Load the config that a command line names and apply the command line to it.

    ``--cfg-options`` override the file. The work folder is taken from
    ``--work-dir``, else from the config, else it is
    ``./work_dirs/<name of the config file>``.

    Args:
        parser: The tool's parser, for its error message.
        args: The parsed arguments of :func:`add_runner_arguments`.

    Returns:
        The config, with ``work_dir``, ``launcher`` and ``trust_checkpoint`` set.

    Raises:
        SystemExit: If the config file does not exist or is of another kind, or nothing reads a
            setting; status 2.
    """
    check_file(parser, args.config, 'config file')
    try:
        check_config_name(args.config)
    except ValueError as error:
        parser.error(str(error))
    # Launchers that give the rank as an argument only: MMEngine reads the environment.
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        try:
            merge_options(cfg, args.cfg_options)
        except ValueError as error:
            parser.error(f'--cfg-options: {error}')
    # Last, so that only the command line can say it.
    cfg.trust_checkpoint = args.trust_checkpoint
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    return cfg


def check_initial_weights(cfg: Config) -> None:
    """Refuse a config of a training whose parts start from files that are not there.

    Args:
        cfg: The config. Parts of its model may have an ``init_cfg`` of the type ``Pretrained``.
            Detectors of localisers name their weights otherwise and complain themselves.

    Raises:
        FileNotFoundError: If such a file does not exist.
    """
    for key, path in _initial_weights(cfg.model, 'model'):
        if is_local_path(path) and not Path(path).expanduser().is_file():
            raise FileNotFoundError(
                f'{path}, the initial weights that {key} names, does not exist: train or convert '
                'it first, see the comment at the top of the config; or set the key to another file'
            )


def _initial_weights(part: object, key: str) -> Iterator[tuple[str, str]]:
    """Keys of the checkpoints that MMEngine initialises a model with, and these."""
    if isinstance(part, list | tuple):
        for index, own in enumerate(part):
            yield from _initial_weights(own, f'{key}.{index}')
    elif isinstance(part, dict):
        init_cfg = part.get('init_cfg')
        pretrained = isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained'
        if pretrained and isinstance(init_cfg.get('checkpoint'), str):
            # All that is within the part is in the file, too.
            yield f'{key}.init_cfg.checkpoint', init_cfg['checkpoint']
            return
        for name, own in part.items():
            if name != 'localisers':
                yield from _initial_weights(own, f'{key}.{name}')


class ExactWeightsHook(Hook):
    """Refuses a checkpoint whose weights are not exactly those of the model.

    A runner that loads a checkpoint only warns of weights that are missing, left
    over or of another shape, and goes on with random ones in their place.
    """

    # After the hooks that choose among the checkpoint's weights, such as EMAHook.
    priority = 'LOWEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the checkpoint with the model.

        Args:
            runner: The runner that is about to take the weights over.
            checkpoint: What it read, with the key ``state_dict``, or the weights.

        Raises:
            ValueError: If a weight is missing, left over or of another shape, or if a
                training shall resume and the checkpoint has weights only.
        """
        model = unwrap_model(runner.model)
        problem = load_or_describe(model, checkpoint)
        if problem:
            raise ValueError(
                f'the checkpoint {_checkpoint_of(runner)} does not fit the model of the config: '
                f'{problem}'
            )
        if runner._resume and 'iter' not in (checkpoint.get('meta') or {}):
            raise ValueError(
                f'the checkpoint {_checkpoint_of(runner)} has weights but no state of a training '
                'to resume: begin one from the weights with --cfg-options load_from=...'
            )


class SharedWeightsHook(Hook):
    """Refuses a checkpoint that has no weight of the model to start a training from.

    A training may start from a part of the weights, such as the encoders'. But where nothing
    fits, the file is another system's, and a runner would only warn of it.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the checkpoint with the model.

        Args:
            runner: The runner that is about to take the weights over.
            checkpoint: What it read, with the key ``state_dict``, or the weights.

        Raises:
            ValueError: If no weight has the name and shape of one of the model's.
        """
        model = unwrap_model(runner.model)
        own = {name: weight.shape for name, weight in model.state_dict().items()}
        loaded = checkpoint.get('state_dict', checkpoint)
        if not any(name in own and weight.shape == own[name] for name, weight in loaded.items()):
            theirs, ours = (', '.join(list(names)[:3]) for names in (loaded, own))
            raise ValueError(
                f'the checkpoint {_checkpoint_of(runner)} has no weight of the model. It has '
                f'{theirs}, ...; the model has {ours}, ... '
                'Published weights are converted first (tools/model_converters/convert.py)'
            )


def _checkpoint_of(runner: Runner) -> str:
    """What the runner loads: the file that was named, or the latest in its folder."""
    return runner._load_from or find_latest_checkpoint(runner.work_dir)


def build_runner(cfg: Config) -> Runner:
    """Build the runner that a config describes.

    From then on MMEngine loads checkpoints safely in this process, see
    :func:`~mmground.utils.checkpoint.register_checkpoint_loaders`.

    Args:
        cfg: The config. ``runner_type`` names the class of the runner in the
            registry ``RUNNERS``; without it the class is MMEngine's ``Runner``. With a
            launcher on a machine without GPU it is changed by
            :func:`prepare_distributed_cpu`. ``trust_checkpoint`` allows any Python object
            in checkpoints.
    """
    register_checkpoint_loaders(cfg.get('trust_checkpoint', False))
    prepare_distributed_cpu(cfg)
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
