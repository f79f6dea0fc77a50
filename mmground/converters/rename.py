import re
from collections.abc import Mapping, Sequence

from torch import Tensor


def rename_keys(
    state_dict: Mapping[str, Tensor],
    rules: Sequence[tuple[str, str]],
    dead: Sequence[str] = (),
) -> tuple[dict[str, Tensor], list[str]]:
    """Rename parameters by the first rule that matches the whole name.

    Args:
        state_dict: Parameters under their published names.
        rules: Pairs of a regular expression and a template for ``re.Match.expand``.
        dead: Regular expressions of names that a network holds but never uses.

    Returns:
        The renamed parameters, and the dead names that were left out.

    Raises:
        ValueError: If names match neither a rule nor a dead pattern, or two become one; all
            are listed.
    """
    renamed, dropped, unknown, twice = {}, [], [], []
    for name, value in state_dict.items():
        for pattern, template in rules:
            match = re.fullmatch(pattern, name)
            if match:
                target = match.expand(template)
                if target in renamed:
                    twice.append(name)
                renamed[target] = value
                break
        else:
            is_dead = any(re.fullmatch(pattern, name) for pattern in dead)
            (dropped if is_dead else unknown).append(name)
    if unknown:
        raise ValueError(
            f'{len(unknown)} parameters are of another layout than the published one: '
            + ', '.join(unknown)
        )
    if twice:
        raise ValueError('parameters stand there twice, under two names: ' + ', '.join(twice))
    return renamed, dropped


def weights_of(checkpoint: Mapping) -> dict[str, Tensor]:
    """The weights of a loaded file, without the prefix of a distributed model.

    Args:
        checkpoint: With ``model`` or ``state_dict``, or the weights alone.

    Raises:
        ValueError: If it holds none.
    """
    weights = checkpoint
    for key in ('model', 'state_dict'):
        if isinstance(checkpoint.get(key), Mapping):
            weights = checkpoint[key]
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(
            "it holds no weights, neither as 'model' or 'state_dict' nor by themselves"
        )
    return strip_prefix(weights, 'module.')


def strip_prefix(state_dict: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Remove a prefix, such as that of a distributed wrapper, where all names have it."""
    if all(name.startswith(prefix) for name in state_dict):
        return {name.removeprefix(prefix): value for name, value in state_dict.items()}
    return dict(state_dict)


def add_batch_counters(weights: dict[str, Tensor]) -> None:
    """Give each normalisation its counter of batches, in place.

    Published frozen normalisation has none; mmdet's has, without effect there. One that is there
    stays.
    """
    for name in [name for name in weights if name.endswith('running_var')]:
        counter = name.replace('running_var', 'num_batches_tracked')
        weights.setdefault(counter, weights[name].new_zeros((), dtype=int))
