"""Reading checkpoints without running code that a file brings along."""

import hashlib
import os.path as osp
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier, get_rank
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner.checkpoint import (
    CheckpointLoader,
    get_deprecated_model_names,
    get_external_models,
    get_torchvision_models,
    load_from_ceph,
    load_from_mmcls,
    load_from_pavi,
)
from torch import nn


def read_pickled(
    path: str, trust_checkpoint: bool = False, map_location: str | torch.device | None = 'cpu'
):
    """Read a file of ``torch.save`` without running code that it brings along.

    Args:
        path: The file.
        trust_checkpoint: Load any Python object. Without it only tensors, plain
            Python and NumPy data, ``argparse.Namespace`` and what MMEngine's runner
            stores are accepted: a file from elsewhere can run any code while it is
            unpickled in full.
        map_location: Where tensors go, as in ``torch.load``.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, damaged, or holds objects that are not
            accepted.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    if osp.getsize(path) == 0:
        raise ValueError(f'checkpoint {path} cannot be read, it is empty: get the file again')
    try:
        with torch.serialization.safe_globals(_safe_globals()):
            return torch.load(path, map_location=map_location, weights_only=not trust_checkpoint)
    except UnpicklingError as error:
        if trust_checkpoint:
            raise ValueError(f'checkpoint {path} cannot be read: {error}') from error
        raise ValueError(
            f'checkpoint {path} is damaged, or holds objects other than weights and plain data. '
            'If you trust where it comes from, load it with trust_checkpoint=True, '
            '--trust-checkpoint on a command line (it may then run code). Reason: '
            f'{_reason(error)}'
        ) from error
    except Exception as error:
        # Bytes that are no pickle make an unpickler stumble in any way.
        raise ValueError(
            f'checkpoint {path} cannot be read, it is damaged or no checkpoint: {error}'
        ) from error


def read_checkpoint(
    path: str, trust_checkpoint: bool = False, map_location: str | torch.device | None = 'cpu'
) -> dict:
    """Read a checkpoint file.

    Args:
        path: File that MMEngine's runner or ``torch.save`` wrote: a dict with
            ``state_dict`` (and, from the runner, ``meta`` and ``message_hub``), or
            a plain state dict.
        trust_checkpoint: Load any Python object, see :func:`read_pickled`.
        map_location: Where tensors go, as in ``torch.load``.

    Returns:
        A dict with at least ``state_dict``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty or damaged, holds objects that are not
            accepted, or is no checkpoint.
    """
    checkpoint = read_pickled(path, trust_checkpoint, map_location)
    if isinstance(checkpoint, Mapping) and 'state_dict' not in checkpoint:
        checkpoint = dict(state_dict=checkpoint)
    if not isinstance(checkpoint, Mapping) or not _is_state_dict(checkpoint['state_dict']):
        raise ValueError(
            f'checkpoint {path} holds no weights: expected a dict with "state_dict", or a state '
            'dict (parameter name -> tensor)'
        )
    return dict(checkpoint)


def file_sha256(path: str) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def load_weights(model: nn.Module, checkpoint: dict, path: str) -> None:
    """Load a checkpoint's weights into a model; every name and shape must agree.

    Args:
        model: The model, changed in place.
        checkpoint: What :func:`read_checkpoint` returned.
        path: Its file, for the message of an error.

    Raises:
        ValueError: If weights are missing, superfluous or of another shape. The
            message names some, and the experiment that the checkpoint is of.
    """
    problem = load_or_describe(model, checkpoint)
    if problem:
        raise ValueError(
            f'checkpoint {path} does not fit the {type(model).__name__} of the config: {problem}'
        )


def load_or_describe(model: nn.Module, checkpoint: dict) -> str:
    """Load a checkpoint's weights into a model, or say in short why they do not fit.

    Args:
        model: The model, changed in place.
        checkpoint: With the key ``state_dict``, or the weights.

    Returns:
        Some of the weights that are missing, superfluous or of another shape, the experiment that
        the checkpoint is of, and the remedy; empty if every name and shape agrees.
    """
    try:
        # Not strict, because a strict load tells of names and shapes in one long text.
        names = model.load_state_dict(checkpoint.get('state_dict', checkpoint), strict=False)
    except RuntimeError as error:
        problems = [line.strip() for line in str(error).splitlines()[1:]]
    else:
        problems = [
            f'{len(keys)} {what} ({_some(keys)})'
            for what, keys in (
                ('missing', names.missing_keys),
                ('not in the model', names.unexpected_keys),
            )
            if keys
        ]
    if not problems:
        return ''
    return (
        f'{_some(problems, separator="; ")}. {_origin(checkpoint)}Use the config that the '
        'checkpoint was trained with'
    )


def register_checkpoint_loaders(trust_checkpoint: bool = False) -> None:
    """Let MMEngine load checkpoints through :func:`read_checkpoint` from now on.

    That is all that a runner loads in this process: ``load_from``, a resumed
    checkpoint, and ``init_cfg=dict(type='Pretrained')``. MMEngine's own loaders fall back
    to unpickling in full, and so run any code that a file brings along. Files, http(s)
    addresses and the names of OpenMMLab's and torchvision's model zoos are read safely;
    for other kinds of addresses there are only MMEngine's loaders, which are refused
    unless they are trusted. Checkpoint folders that DeepSpeed writes are read by DeepSpeed.

    Args:
        trust_checkpoint: Load any Python object.
    """

    def load_from_local(filename: str, map_location=None) -> dict:
        checkpoint = read_checkpoint(osp.expanduser(filename), trust_checkpoint, map_location)
        return checkpoint if trust_checkpoint else _without_code(checkpoint)

    def load_from_http(filename: str, map_location=None) -> dict:
        return load_from_local(_download(filename), map_location)

    def load_from_openmmlab(filename: str, map_location=None) -> dict:
        urls = get_external_models()
        renamed = get_deprecated_model_names().items()
        urls |= {old: urls[new] for old, new in renamed if new in urls}
        return CheckpointLoader.load_checkpoint(_look_up(filename, urls), map_location)

    def load_from_torchvision(filename: str, map_location=None) -> dict:
        return load_from_http(_look_up(filename, get_torchvision_models()), map_location)

    def load_from_refused(filename: str, map_location=None) -> dict:
        raise ValueError(
            f'checkpoint {filename}: MMEngine unpickles what is at such an address in full, which '
            'may run any code. Fetch the file and give its path, or pass --trust-checkpoint if '
            'you trust where it comes from'
        )

    loaders: dict[tuple[str, ...], Callable] = {
        ('',): load_from_local,
        ('http://', 'https://'): load_from_http,
        ('open-mmlab://', 'openmmlab://'): load_from_openmmlab,
        ('torchvision://', 'modelzoo://'): load_from_torchvision,
    }
    for prefixes, original in (
        ((r'(\S+\:)?s3://', r'(\S+\:)?petrel://'), load_from_ceph),
        (('pavi://',), load_from_pavi),
        (('mmcls://',), load_from_mmcls),
    ):
        loaders[prefixes] = original if trust_checkpoint else load_from_refused
    for prefixes, loader in loaders.items():
        CheckpointLoader.register_scheme(list(prefixes), loader, force=True)


def _without_code(checkpoint: dict) -> dict:
    """The checkpoint without ``meta['config']``, which a resuming runner executes as Python.

    MMEngine's runner itself writes ``meta['cfg']``, which nothing executes.
    """
    meta = checkpoint.get('meta')
    if isinstance(meta, Mapping) and 'config' in meta:
        checkpoint['meta'] = {key: value for key, value in meta.items() if key != 'config'}
    return checkpoint


def _download(url: str) -> str:
    """Path of the file of an address, in torch's folder of downloads."""
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    path = folder / Path(urlparse(url).path).name

    def fetch() -> None:
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=get_rank() == 0)

    if get_rank() == 0:
        fetch()
    barrier()
    # On other nodes the file is still to come; it appears as a whole, whoever is first.
    fetch()
    return str(path)


def _look_up(address: str, urls: Mapping[str, str]) -> str:
    """The URL of ``zoo://name``."""
    name = address.split('://', 1)[1]
    if name not in urls:
        raise ValueError(f'checkpoint {address}: its model zoo has no model of this name')
    return urls[name]


def _safe_globals() -> list:
    """What a checkpoint of MMEngine's runner holds besides tensors.

    MMEngine's own list has the built-in ``getattr``, which its log buffers and schedulers
    are pickled with. That reaches far, so a narrow stand-in takes its place.
    """
    core = np._core.multiarray
    names = ('bool', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8', 'U1')
    dtypes = {type(np.dtype(name)) for name in names}
    return [
        (_getattr_of_state, 'builtins.getattr'),
        (core._reconstruct, 'numpy.core.multiarray._reconstruct'),
        (core.scalar, 'numpy.core.multiarray.scalar'),
        core._reconstruct,
        core.scalar,
        np.ndarray,
        np.dtype,
        slice,
        # Settings of a command line, beside the weights in checkpoints of DETR's descendants. It
        # only holds what it is given.
        Namespace,
        HistoryBuffer,
        OneCycleParamScheduler,
        *dtypes,
    ]


# Functions in the state of log buffers (their statistics) and schedulers.
_STATE_FUNCTIONS = {
    HistoryBuffer: ('min', 'max', 'current', 'mean'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}


def _getattr_of_state(owner, name: str):
    if isinstance(owner, type) and name in _STATE_FUNCTIONS.get(owner, ()):
        return getattr(owner, name)
    raise UnpicklingError(f'the file asks for the attribute {name!r} of {owner!r}')


def _reason(error: UnpicklingError) -> str:
    """What an unpickler stumbled over, without PyTorch's advice to unpickle in full."""
    paragraphs = [text.strip() for text in str(error).split('\n\n') if text.strip()]
    if len(paragraphs) > 1 and paragraphs[-1].startswith('Check the documentation'):
        paragraphs.pop()
    reason = paragraphs[-1].split('WeightsUnpickler error: ')[-1].splitlines()[0]
    return reason.split(' by default')[0]


def _is_state_dict(value) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) for name in value)
        and any(isinstance(weight, torch.Tensor) for weight in value.values())
    )


def _some(names: Sequence[str], limit: int = 3, separator: str = ', ') -> str:
    return separator.join(names[:limit]) + (f'{separator}...' if len(names) > limit else '')


def _origin(checkpoint: dict) -> str:
    meta = checkpoint.get('meta')
    if not isinstance(meta, Mapping):
        return ''
    if meta.get('experiment_name'):
        return f'The checkpoint is of the experiment "{meta["experiment_name"]}". '
    # Written by the converters.
    return f'The checkpoint was converted from {meta["system"]}. ' if meta.get('system') else ''
