"""In which settings two configs differ, and a training of two iterations of any config."""

import inspect
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmground.registry import MODELS

# What a config says beside these are variables for its own use.
SETTINGS = inspect.signature(Runner.__init__).parameters.keys() - {'self', 'cfg'}
ABSENT = '<absent>'

_NORM = dict(type='GN', num_groups=4)
_LAYER = dict(num_heads=2, feedforward_channels=16)
_NECKS = {
    'mmdet.FPN': dict(in_channels=[8, 16, 32, 64], out_channels=16),
    'SemanticFPN': dict(in_channels=16, channels=16, norm_cfg=_NORM),
    'DeformableEncoder': dict(channels=16, norm_cfg=_NORM),
    'LevelAverage': {},
}
_AGGREGATION = dict(num_heads=2, ffn_channels=16, factor_channels=6, fused_channels=5)


def flatten(value, key: str = '') -> dict:
    """Settings by dotted key; elements of a list of dicts by their index, ``neck.1.type``."""
    if isinstance(value, dict) and value:
        items = value.items()
    elif isinstance(value, list) and value and all(isinstance(own, dict) for own in value):
        items = enumerate(value)
    else:
        return {key: value}
    flat = {}
    for name, own in items:
        flat.update(flatten(own, f'{key}.{name}' if key else str(name)))
    return flat


def differences(base: Path, path: Path) -> dict:
    """Settings in which the config at ``path`` differs from ``base``; ``ABSENT`` if it has none."""
    before, after = (
        flatten({key: value for key, value in Config.fromfile(own).items() if key in SETTINGS})
        for own in (base, path)
    )
    return {
        key: after.get(key, ABSENT)
        for key in before.keys() | after.keys()
        if before.get(key, ABSENT) != after.get(key, ABSENT)
    }


def shrink(cfg: Config, data_root: str) -> Config:
    """Keep what a config is about; make widths, pictures and the schedule tiny.

    Args:
        cfg: Config of a phrase-pixel system on panoptic narrative grounding; changed in place.
        data_root: Grounding Shapes in that layout, with four training narratives at least.

    Returns:
        The config, of two iterations of two narratives, without evaluation and checkpoints.
    """
    model = cfg.model
    model.backbone.update(depth=18, base_channels=8)
    if not _own_encoders(cfg):
        model.backbone.init_cfg = None
    for part in model.neck:
        part.update(_NECKS[part.type])
        if part.type == 'DeformableEncoder':
            part.layer = dict(part.get('layer', {}), **_LAYER)
    model.text_encoder.update(
        vocab_file=f'{data_root}/vocab.txt',
        vocab_size=320,
        hidden_size=24,
        num_layers=1,
        num_heads=2,
        intermediate_size=24,
    )
    model.head.update(in_channels=16, text_channels=24, channels=16, norm_cfg=_NORM)
    refinement = model.head.refinement
    # Of the 64 cells of a map: fewer, but as many as the config's proportion.
    refinement.num_points //= 10
    if 'layer' in refinement:
        refinement.layer.update(_LAYER)
    aggregation = refinement.aggregation
    aggregation.update({key: value for key, value in _AGGREGATION.items() if key in aggregation})

    loader = cfg.train_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    # A picture may have more than one narrative.
    loader.dataset.update(data_root=data_root, indices=4)
    for transform in loader.dataset.pipeline:
        if 'Resize' in transform.type:
            transform.scale = 64 if isinstance(transform.scale, int) else (64, 64)
    for part in ('val', 'test'):
        for setting in ('dataloader', 'evaluator', 'cfg'):
            cfg.pop(f'{part}_{setting}')
    if cfg.train_cfg.type == 'EpochBasedTrainLoop':
        cfg.train_cfg.max_epochs = 1
    else:
        cfg.train_cfg.max_iters = cfg.param_scheduler.total_steps = 2
    cfg.default_hooks.pop('visualization')
    cfg.default_hooks.checkpoint = None
    # MMEngine keeps visualizers by name.
    cfg.visualizer.pop('name')
    return cfg


class Recorder(Hook):
    """Keeps the weights with which a training begins, and its losses."""

    def before_train(self, runner):
        self.weights = _state(runner.model)
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: value.item() for name, value in outputs.items()})


@dataclass
class Training:
    """What came of a training.

    Args:
        frozen: Names of the parts that the config freezes.
        pretrained: Weights of the checkpoint that it started from.
        before: Weights before the first iteration.
        after: Weights after the last.
        moments: Adam's running mean of each gradient, of the parameters that had one.
        losses: Losses by name, of each iteration.
    """

    frozen: tuple[str, ...]
    pretrained: dict[str, Tensor]
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    moments: dict[str, Tensor]
    losses: list[dict[str, float]]

    def assert_sound(self, levels) -> None:
        """Everything that is not frozen was trained, by the losses of the maps ``levels``."""
        assert len(self.losses) == 2
        names = {f'loss_{kind}_{level}' for kind in ('bce', 'dice') for level in levels}
        for losses in self.losses:
            assert set(losses) == {'loss', 'dropped_phrases', *names}
            assert losses['dropped_phrases'] == 0
        frozen = tuple(f'{part}.' for part in self.frozen)
        for key, before in self.before.items():
            if key.startswith(frozen):
                assert torch.equal(before, self.pretrained[key]), key
                assert torch.equal(before, self.after[key]), key
            else:
                # Weight decay changes weights without a gradient, too.
                assert key in self.moments, f'{key} has no gradient'
                assert self.moments[key].any(), f'{key} has a gradient of zero'
                assert not torch.equal(before, self.after[key]), f'{key} is not trained'
        assert all(tensor.isfinite().all() for tensor in self.after.values())


def train(cfg: Config, folder: Path) -> Training:
    """Run the training of a config that went through :func:`shrink`, in ``folder``."""
    # The frozen parts' weights come from a checkpoint, as in earnest.
    torch.manual_seed(0)
    pretrained = MODELS.build(cfg.model)  # Not initialised: no checkpoint is read here.
    parts = tuple(f'{part}.' for part in cfg.model.frozen)
    if parts:
        weights = pretrained.state_dict()
        weights = {key: value for key, value in weights.items() if key.startswith(parts)}
        torch.save(dict(state_dict=weights), folder / 'encoders.pth')
        if _own_encoders(cfg):
            for part in (cfg.model.backbone, cfg.model.neck[0], cfg.model.text_encoder):
                part.init_cfg.checkpoint = str(folder / 'encoders.pth')
        else:
            cfg.load_from = str(folder / 'encoders.pth')
    cfg.work_dir = str(folder)
    cfg.experiment_name = folder.name  # MMEngine keeps loggers and so on by this name
    recorder = Recorder()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(recorder, priority='LOWEST')
    runner.train()
    states = runner.optim_wrapper.optimizer.state
    return Training(
        frozen=tuple(cfg.model.frozen),
        pretrained=_state(pretrained),
        before=recorder.weights,
        after=_state(runner.model),
        moments={
            name: states[parameter]['exp_avg']
            for name, parameter in runner.model.named_parameters()
            if parameter in states
        },
        losses=recorder.losses,
    )


def _own_encoders(cfg: Config) -> bool:
    """Whether the encoders come from another training, by their ``init_cfg``."""
    return str((cfg.model.backbone.get('init_cfg') or {}).get('checkpoint')).startswith('work_dirs')


def _state(model):
    return {name: tensor.clone() for name, tensor in model.named_parameters()}
