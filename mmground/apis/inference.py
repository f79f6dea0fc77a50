import copy
import os.path as osp
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import nn

from mmground.registry import MODELS
from mmground.utils.checkpoint import load_weights, read_checkpoint
from mmground.utils.config_options import check_config_name, merge_options


def init_model(
    config: str | Path | Config | ConfigDict | None = None,
    checkpoint: str | Path | None = None,
    device: str = 'cpu',
    cfg_options: dict | None = None,
    trust_checkpoint: bool = False,
) -> nn.Module:
    """Build a model for inference and load its weights.

    Args:
        config: A config or its file. None takes the config that the checkpoint
            carries; because a config can name any code to run, that needs
            ``trust_checkpoint=True``.
        checkpoint: File with the weights. Each must fit. Without one, the model
            keeps its random weights, with a warning.
        device: Where the model goes, for example ``'cuda:0'``.
        cfg_options: Settings that replace the config's, ``{'model.head.num_rounds': 1}``.
        trust_checkpoint: The checkpoint comes from a source you trust: Python objects
            and the config in it may run code.

    Returns:
        The model in evaluation mode; its config is ``model.cfg``.

    Raises:
        FileNotFoundError: If the config or the checkpoint does not exist.
        ValueError: If the checkpoint cannot be read or does not fit the config, or nothing reads
            one of ``cfg_options``, or ``config`` names another kind of file.

    Example:
        >>> model = init_model('configs/ppmn/ppmn_r18-fpn_1xb16_shapes.py', 'ppmn.pth')
    """
    if isinstance(config, str | Path) and osp.isfile(config):
        check_config_name(config)
    loaded = None
    if checkpoint is not None:
        checkpoint = str(checkpoint)
        loaded = read_checkpoint(checkpoint, trust_checkpoint)
    cfg = _read_config(config, loaded, checkpoint, trust_checkpoint)
    if cfg_options:
        merge_options(cfg, cfg_options)
    if 'model' not in cfg:
        raise ValueError(f'the config {cfg.filename or ""} has no "model"')

    init_default_scope(cfg.get('default_scope') or 'mmground')
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    if loaded is not None:
        load_weights(model, loaded, checkpoint)
    else:
        warnings.warn('no checkpoint is given: the model has random weights', stacklevel=2)
    model.cfg = cfg
    return model.to(device).eval()


@contextmanager
def changed_test_cfg(model: nn.Module, **settings) -> Iterator[dict]:
    """Run a model with other settings of its head's ``test_cfg`` for a while.

    Args:
        model: A model whose head has a ``test_cfg``.
        **settings: What is changed.

    Yields:
        The ``test_cfg``, which has its former settings again afterwards.

    Example:
        >>> with changed_test_cfg(model, keep_attention=True):
        ...     samples = model.test_step(batch)
    """
    test_cfg = model.head.test_cfg
    before = dict(test_cfg)
    test_cfg.update(settings)
    try:
        yield test_cfg
    finally:
        test_cfg.clear()
        test_cfg.update(before)


def _read_config(config, loaded: dict | None, checkpoint: str | None, trust: bool) -> Config:
    if isinstance(config, str | Path):
        if not osp.isfile(config):
            raise FileNotFoundError(f'config {config} does not exist')
        return Config.fromfile(config)
    if isinstance(config, Config):
        return copy.deepcopy(config)
    if isinstance(config, dict):
        return Config(copy.deepcopy(config))
    if config is not None:
        raise TypeError(f'config must be a file or a Config, got {type(config).__name__}')
    if loaded is None:
        raise ValueError('give a config, a checkpoint that carries its config, or both')
    text = (loaded.get('meta') or {}).get('cfg')
    if not text:
        raise ValueError(f'checkpoint {checkpoint} carries no config: give the config as well')
    if not trust:
        raise ValueError(
            f'no config is given. Checkpoint {checkpoint} carries one, but a config can name any '
            'code to run: give the config, or trust_checkpoint=True if you trust the file'
        )
    return Config.fromstring(text, file_format='.py')
