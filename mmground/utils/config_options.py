"""Settings that override those of a config, and what is wrong with them."""

import copy
import inspect
import logging
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

# What MMEngine and mmground read of a config besides the arguments of the runner.
_READ_BESIDES = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'trust_checkpoint',
}
_READ = (set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}) | _READ_BESIDES

_SUFFIXES = ('.py', '.json', '.yaml', '.yml')
_MOST_NAMED = 3


def is_config_name(path: str | Path) -> bool:
    """Whether a file may be a config by its suffix."""
    return Path(path).suffix.lower() in _SUFFIXES


def check_config_name(path: str | Path) -> None:
    """Refuse a file that is no config by its name, such as a checkpoint in its place.

    Args:
        path: The file.

    Raises:
        ValueError: If its suffix is none of a config.
    """
    if not is_config_name(path):
        raise ValueError(f'{path} is no config (.py): the config comes first, then a checkpoint')


def merge_options(cfg: Config, options: dict[str, Any]) -> None:
    """Override settings of a config; those that would have no effect are told.

    A variable of a config file, such as ``max_iters``, was read when the file was loaded: setting
    it changes nothing that was made of it, of which a warning tells.

    Args:
        cfg: The config, changed in place.
        options: Values by key, ``{'model.head.num_rounds': 1}``.

    Raises:
        ValueError: If neither the config has a key nor anything reads it.
    """
    variables = {}
    for option in options:
        key = option.split('.')[0]
        if key not in cfg and key not in _READ:
            close = get_close_matches(key, [*cfg, *_READ], n=1)
            hint = f': did you mean {close[0]}?' if close else ''
            raise ValueError(
                f'the setting {option} has no effect, because the config has no {key} and nothing '
                f'else reads it{hint}'
            )
        if key not in _READ:
            variables[key] = copy.deepcopy(cfg[key])
    before = {key: set(_places(cfg, key, value)) for key, value in variables.items()}
    cfg.merge_from_dict(options)
    for key, value in variables.items():
        left = [place for place in _places(cfg, key, value) if place in before[key]]
        if cfg[key] == value or (before[key] and not left):
            continue
        example = f', for example {", ".join(left[:_MOST_NAMED])}' if left else ''
        print_log(
            f'{key} is a variable of the config, which was read already: set what is made of it '
            f'instead{example}',
            logger='current',
            level=logging.WARNING,
        )


def _places(cfg: Config, variable: str, value: Any) -> Iterator[str]:
    """Keys of what is read of the config and has the value of a variable.

    Switches and None are too common to tell where they come from.
    """
    if value is None or isinstance(value, bool):
        return
    for key in cfg:
        if key != variable and key in _READ:
            yield from _equal(cfg[key], value, key)


def _equal(tree: Any, value: Any, key: str) -> Iterator[str]:
    if type(tree) is type(value) and tree == value:
        yield key
    elif isinstance(tree, dict):
        for name, part in tree.items():
            yield from _equal(part, value, f'{key}.{name}')
    elif isinstance(tree, list):
        # A tuple has no keys that could be set.
        for index, part in enumerate(tree):
            yield from _equal(part, value, f'{key}.{index}')
