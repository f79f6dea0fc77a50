"""Every ablation config of PPMN changes what its name says, nothing else, and trains."""

import pytest
from config_training import ABSENT, differences, shrink, train
from mmengine.config import Config

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
    f'{AGGREGATION}.num_heads': ABSENT,
    f'{AGGREGATION}.rank': 10,
}
# By the name of the config, the settings in which it differs from its base.
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
    f'{FULL}_sknet': {f'{AGGREGATION}.type': 'SKNet', f'{AGGREGATION}.num_heads': ABSENT},
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
        f'{AGGREGATION}.num_heads': ABSENT,
    },
}
CHANGES = {**FULL_CHANGES, **SHAPES_CHANGES}
SHAPES_256 = 'ppmn_r18-fpn_1xb8_shapes256'
ENCODERS = f'{SHAPES_256}-encoders'
ENCODERS_CHANGES = {
    'model.head.channels': 64,
    'model.head.num_rounds': 0,
    'model.head.refinement.num_points': 64,
    'train_dataloader.batch_size': 8,
    'auto_scale_lr.base_batch_size': 8,
    **{
        f'{part}_dataloader.dataset.pipeline.1.scale': (256, 256)
        for part in ('train', 'val', 'test')
    },
    'param_scheduler.total_steps': 800,
    'train_cfg.max_iters': 800,
    'train_cfg.val_interval': 800,
    'default_hooks.checkpoint.interval': 800,
}
SHAPES_256_CHANGES = {
    'model.head.num_rounds': 3,
    'model.frozen': ['backbone', 'neck.0', 'text_encoder'],
    'param_scheduler.eta_max': 1e-3,
    'param_scheduler.total_steps': 400,
    'train_cfg.max_iters': 400,
    'train_cfg.val_interval': 400,
    'default_hooks.checkpoint.interval': 400,
    **{
        f'model.{part}.init_cfg.{key}': value
        for part in ('backbone', 'neck.0', 'text_encoder')
        for key, value in {
            'type': 'Pretrained',
            'checkpoint': f'work_dirs/{ENCODERS}/iter_800.pth',
            'prefix': part,
        }.items()
    },
}


@pytest.fixture(scope='module')
def folder(config_dir):
    return config_dir / 'ppmn'


def test_every_ablation_is_listed_here(folder):
    ablations = folder / 'ablations'
    found = {str(path.relative_to(ablations).with_suffix('')) for path in ablations.rglob('*.py')}
    assert found == set(CHANGES)


@pytest.mark.parametrize('name', CHANGES)
def test_a_config_differs_where_its_name_says(folder, name):
    base = FULL if name in FULL_CHANGES else SHAPES
    changes = differences(folder / f'{base}.py', folder / f'ablations/{name}.py')
    assert changes == CHANGES[name]


def test_larger_pictures(folder):
    changes = differences(folder / f'{SHAPES}.py', folder / f'{ENCODERS}.py')
    assert changes == ENCODERS_CHANGES
    changes = differences(folder / f'{ENCODERS}.py', folder / f'{SHAPES_256}.py')
    assert changes == SHAPES_256_CHANGES


@pytest.mark.parametrize('name', [ENCODERS, SHAPES_256, *(f'ablations/{name}' for name in CHANGES)])
def test_two_training_steps(folder, shapes_root, tmp_path, name):
    cfg = shrink(Config.fromfile(folder / f'{name}.py'), shapes_root)
    levels = range(cfg.model.head.num_rounds + 1)
    train(cfg, tmp_path).assert_sound(levels)
