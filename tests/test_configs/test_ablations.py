"""Every ablation config changes what its name says, nothing else, and trains."""

import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmground.datasets.grounding_shapes import generate
from mmground.registry import MODELS

FULL, SHAPES = 'ppmn_r101-fpn_4xb12-14e_png', 'ppmn_r18-fpn_1xb16_shapes'
AGGREGATION = 'model.head.refinement.aggregation'
PAPER_FORMS = {
    'max-pool': {
        'model.head.refinement.selection': 'adaptive_max_pool',
        'model.head.refinement.smooth': False,
    },
    'phrase-queries': {'model.head.query': 'phrase'},
    'linear-proj': {'model.head.pixel_proj': 'linear'},
    'shared-context': {'model.head.matching_round.shared_context': True},
    'linear-dice': {'model.head.loss_dice.naive_dice': True},
    'sandwich-norm': {f'{AGGREGATION}.norm_order': 'sandwich'},
    'scale-all': {f'{AGGREGATION}.scale': 'all'},
    'split-heads': {f'{AGGREGATION}.split_heads': True},
    'stride8-loss': {'model.head.supervision_scale': 1},
    'mean-logits': {'model.head.test_cfg.pooling': 'logits'},
}
MUTAN = {
    f'{AGGREGATION}.type': 'MUTAN',
    f'{AGGREGATION}.num_heads': None,
    f'{AGGREGATION}.rank': 10,
}
# By the name of the config, the settings in which it differs from its base; None is absent.
FULL_CHANGES = {
    f'{FULL}_s0-l0': {'model.head.num_rounds': 0},
    f'{FULL}_s100-l1': {
        'model.head.num_rounds': 1,
        'model.head.refinement.num_points': 100,
    },
    f'{FULL}_s200-l1': {'model.head.num_rounds': 1},
    f'{FULL}_s300-l1': {
        'model.head.num_rounds': 1,
        'model.head.refinement.num_points': 300,
    },
    f'{FULL}_s200-l2': {'model.head.num_rounds': 2},
    f'{FULL}_s200-l4': {'model.head.num_rounds': 4},
    f'{FULL}_mutan': {
        **MUTAN,
        f'{AGGREGATION}.factor_channels': 360,
        f'{AGGREGATION}.fused_channels': 360,
    },
    f'{FULL}_sknet': {f'{AGGREGATION}.type': 'SKNet', f'{AGGREGATION}.num_heads': None},
    'ppmn_r101-imagenet-fpn_4xb12-14e_png': {
        'model.backbone.init_cfg.type': 'Pretrained',
        'model.backbone.init_cfg.checkpoint': 'open-mmlab://detectron2/resnet101_caffe',
        'model.frozen': ['backbone', 'text_encoder'],
    },
    **{f'{FULL}_{name}': changes for name, changes in PAPER_FORMS.items()},
    'ppmn_r101-fpn-bert_4xb3-14e_png_paper': {
        **{key: value for form in PAPER_FORMS.values() for key, value in form.items()},
        'model.frozen': ['backbone', 'neck.0'],
        'model.dropout_in_frozen': [],
        'optim_wrapper.paramwise_cfg.custom_keys.text_encoder.lr_mult': 0.1,
        'optim_wrapper.paramwise_cfg.custom_keys.text_encoder.constant_lr': True,
        'param_scheduler.type': 'PartMultiStepLR',
        'train_dataloader.batch_size': 3,
        'auto_scale_lr.base_batch_size': 12,
    },
}
SHAPES_CHANGES = {
    f'shapes/{SHAPES}_l0': {'model.head.num_rounds': 0},
    f'shapes/{SHAPES}_mutan': {
        **MUTAN,
        f'{AGGREGATION}.factor_channels': 180,
        f'{AGGREGATION}.fused_channels': 180,
    },
    f'shapes/{SHAPES}_sknet': {
        f'{AGGREGATION}.type': 'SKNet',
        f'{AGGREGATION}.num_heads': None,
    },
}
CHANGES = {**FULL_CHANGES, **SHAPES_CHANGES}


@pytest.fixture
def ablations(config_dir):
    return config_dir / 'ppmn' / 'ablations'


def _flat(cfg, prefix=''):
    flat = {}
    for key, value in cfg.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f'{prefix}{key}.'))
        else:
            flat[f'{prefix}{key}'] = value
    return flat


def test_every_ablation_is_listed_here(ablations):
    found = {str(path.relative_to(ablations).with_suffix('')) for path in ablations.rglob('*.py')}
    assert found == set(CHANGES)


@pytest.mark.parametrize('name', CHANGES)
def test_a_config_differs_where_its_name_says(ablations, name):
    base = FULL if name in FULL_CHANGES else SHAPES
    before = _flat(Config.fromfile(ablations.parent / f'{base}.py'))
    after = _flat(Config.fromfile(ablations / f'{name}.py'))
    changes = {
        key: after.get(key)
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    }
    assert changes == CHANGES[name]


def test_every_config_is_in_the_table_of_the_readme(config_dir):
    folder = config_dir / 'ppmn'
    text = (folder / 'README.md').read_text(encoding='utf-8')
    linked = set(re.findall(r'\]\(([^)]+\.py)\)', text))
    assert linked == {str(path.relative_to(folder)) for path in folder.rglob('*.py')}


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'shapes'
    generate(root, formats=['png'], counts=dict(train=4, val=1), size=64, workers=1)
    return str(root)


def _shrink(cfg, root):
    """Keep what an ablation is about; make widths, pictures and the schedule tiny."""
    norm_cfg = dict(type='GN', num_groups=4)
    model = cfg.model
    model.backbone.update(depth=18, base_channels=8, init_cfg=None)
    model.neck[0].update(in_channels=[8, 16, 32, 64], out_channels=16)
    model.neck[1].update(in_channels=16, channels=16, norm_cfg=norm_cfg)
    model.text_encoder.update(
        vocab_file=f'{root}/vocab.txt',
        vocab_size=320,
        hidden_size=24,
        num_layers=1,
        num_heads=2,
        intermediate_size=24,
    )
    model.head.update(in_channels=16, text_channels=24, channels=16, norm_cfg=norm_cfg)
    # Of the 64 cells of a map: fewer, but as many as the ablation's proportion.
    model.head.refinement.num_points //= 10
    small = dict(num_heads=2, ffn_channels=16, factor_channels=6, fused_channels=5)
    aggregation = model.head.refinement.aggregation
    aggregation.update({key: value for key, value in small.items() if key in aggregation})

    loader = cfg.train_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    # A picture may have more than one narrative.
    loader.dataset.update(data_root=root, indices=4)
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
    return cfg


def _state(model):
    return {name: tensor.clone() for name, tensor in model.named_parameters()}


class Recorder(Hook):
    """Keeps the weights with which a training begins, and its losses."""

    def before_train(self, runner):
        self.weights = _state(runner.model)
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: float(value) for name, value in outputs.items()})


def _train(cfg, folder):
    # The frozen parts' weights come from a checkpoint, as in earnest.
    torch.manual_seed(0)
    pretrained = MODELS.build(cfg.model)
    parts = tuple(f'{part}.' for part in cfg.model.frozen)
    if parts:
        weights = pretrained.state_dict()
        weights = {key: value for key, value in weights.items() if key.startswith(parts)}
        torch.save(dict(state_dict=weights), folder / 'encoders.pth')
        cfg.load_from = str(folder / 'encoders.pth')
    cfg.work_dir = str(folder)
    cfg.experiment_name = folder.name  # MMEngine keeps loggers and so on by this name
    recorder = Recorder()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(recorder, priority='LOWEST')
    runner.train()
    return SimpleNamespace(
        pretrained=_state(pretrained),
        before=recorder.weights,
        after=_state(runner.model),
        losses=recorder.losses,
    )


@pytest.mark.parametrize('name', CHANGES)
def test_two_training_steps(ablations, shapes, tmp_path, name):
    cfg = _shrink(Config.fromfile(ablations / f'{name}.py'), shapes)
    frozen = tuple(f'{part}.' for part in cfg.model.frozen)
    done = _train(cfg, tmp_path)

    assert len(done.losses) == 2
    kinds = {f'loss_{kind}_{i}' for kind in ('bce', 'dice') for i in range(5)}
    maps = {
        f'loss_{kind}_{i}' for kind in ('bce', 'dice') for i in range(cfg.model.head.num_rounds + 1)
    }
    assert all(set(losses) & kinds == maps for losses in done.losses)
    assert all(losses['dropped_phrases'] == 0 for losses in done.losses)
    for key, before in done.before.items():
        if key.startswith(frozen):
            assert torch.equal(before, done.pretrained[key]), key
            assert torch.equal(before, done.after[key]), key
        else:
            assert not torch.equal(before, done.after[key]), f'{key} is not trained'
    assert all(tensor.isfinite().all() for tensor in done.after.values())
