"""Reading checkpoints without running code that a file brings along."""

import os.path as osp
from collections.abc import Mapping, Sequence
from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import nn


def read_checkpoint(path: str, trust_checkpoint: bool = False) -> dict:
    """Read a checkpoint file to the CPU.

    Args:
        path: File that MMEngine's runner or ``torch.save`` wrote: a dict with
            ``state_dict`` (and, from the runner, ``meta`` and ``message_hub``), or
            a plain state dict.
        trust_checkpoint: Load any Python object. Without it only tensors, plain
            Python and NumPy data and MMEngine's log buffers are accepted: a file
            from elsewhere can run any code while it is unpickled in full.

    Returns:
        A dict with at least ``state_dict``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, holds objects that are not accepted, or
            is no checkpoint.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    try:
        with torch.serialization.safe_globals(_safe_globals()):
            checkpoint = torch.load(path, map_location='cpu', weights_only=not trust_checkpoint)
    except UnpicklingError as error:
        if trust_checkpoint:
            raise ValueError(f'checkpoint {path} cannot be read: {error}') from error
        raise ValueError(
            f'checkpoint {path} is damaged, or holds objects other than weights and plain data. '
            'If you trust where it comes from, load it with trust_checkpoint=True (it may then '
            f'run code). Reason: {str(error).strip().splitlines()[0]}'
        ) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(
            f'checkpoint {path} cannot be read, it is damaged or no checkpoint: {error}'
        ) from error
    if isinstance(checkpoint, Mapping) and 'state_dict' not in checkpoint:
        checkpoint = dict(state_dict=checkpoint)
    if not isinstance(checkpoint, Mapping) or not _is_state_dict(checkpoint['state_dict']):
        raise ValueError(
            f'checkpoint {path} holds no weights: expected a dict with "state_dict", or a state '
            'dict (parameter name -> tensor)'
        )
    return dict(checkpoint)


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
    try:
        # Not strict, because a strict load tells of names and shapes in one long text.
        names = model.load_state_dict(checkpoint['state_dict'], strict=False)
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
    if problems:
        raise ValueError(
            f'checkpoint {path} does not fit the {type(model).__name__} of the config: '
            f'{_some(problems, separator="; ")}. {_origin(checkpoint)}Use the config that the '
            'checkpoint was trained with'
        )


def _safe_globals() -> list:
    """What a checkpoint of MMEngine's runner holds besides tensors.

    MMEngine's own list has the built-in ``getattr``, which its log buffers are
    pickled with. That reaches far, so a narrow stand-in takes its place.
    """
    core = np._core.multiarray
    dtypes = {type(np.dtype(name)) for name in ('bool', 'u1', 'i4', 'i8', 'f2', 'f4', 'f8', 'U1')}
    return [
        (_getattr_of_history_buffer, 'builtins.getattr'),
        (core._reconstruct, 'numpy.core.multiarray._reconstruct'),
        (core.scalar, 'numpy.core.multiarray.scalar'),
        core._reconstruct,
        core.scalar,
        np.ndarray,
        np.dtype,
        slice,
        HistoryBuffer,
        *dtypes,
    ]


def _getattr_of_history_buffer(owner, name: str):
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    raise UnpicklingError(f'the file asks for the attribute {name!r} of {owner!r}')


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
    name = meta.get('experiment_name') if isinstance(meta, Mapping) else None
    return f'The checkpoint is of the experiment "{name}". ' if name else ''
