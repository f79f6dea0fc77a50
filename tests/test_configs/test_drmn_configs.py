"""Every config of DRMN is the form that its name says, differs nowhere else, and trains."""

import pytest
import torch
from config_training import ABSENT, differences, shrink, train
from mmengine.config import Config

from mmground.registry import MODELS

OFFICIAL, PAPER = 'drmn-official_r101-fpn_1xb10-20e_png', 'drmn-paper_r101-fpn_1xb10-20e_png'
SHAPES, PAPER_SHAPES = 'drmn-official_r18-fpn_1xb8_shapes256', 'drmn-paper_r18-fpn_1xb8_shapes256'
NECK, HEAD = 'model.neck', 'model.head'
REFINEMENT = f'{HEAD}.refinement'

# Beside PPMN's: the encoder stands between the pyramid and its fusion.
OFFICIAL_FORM = {
    f'{NECK}.1.type': 'DeformableEncoder',
    f'{NECK}.1.num_layers': 2,
    f'{NECK}.1.in_channels': ABSENT,
    f'{NECK}.1.out_stride': ABSENT,
    f'{NECK}.2.type': 'SemanticFPN',
    f'{NECK}.2.strides': (8, 8, 16, 32),
    f'{NECK}.2.out_stride': 8,
    f'{NECK}.2.out_conv': False,
    f'{NECK}.2.keep_levels': True,
    f'{HEAD}.text_proj': True,
    f'{REFINEMENT}.type': 'DeformableRefinement',
    f'{REFINEMENT}.level': 2,
}
# Beside the official form.
PAPER_FORM = {
    f'{NECK}.1.project_levels': False,
    f'{NECK}.1.level_embedding': False,
    f'{NECK}.1.position_code': 'normalized',
    f'{NECK}.1.positions_in_each_layer': False,
    f'{NECK}.1.fixed_values': True,
    f'{NECK}.1.layer.residual': 'attention',
    f'{NECK}.1.layer.ffn_residual': False,
    f'{NECK}.2.type': 'LevelAverage',
    f'{NECK}.2.out_level': 1,
    **{
        f'{NECK}.2.{setting}': ABSENT
        for setting in (
            'in_channels',
            'channels',
            'strides',
            'out_stride',
            'out_conv',
            'keep_levels',
        )
    },
    f'{HEAD}.pixel_proj': 'none',
    f'{HEAD}.text_proj': False,
    f'{HEAD}.matching_round.type': 'RefinedPixelRound',
    f'{HEAD}.loss_dice.naive_dice': True,
    f'{HEAD}.supervise_initial': False,
    f'{REFINEMENT}.level': None,
    f'{REFINEMENT}.position': 'pixel',
    f'{REFINEMENT}.max_seg_num': None,
    f'{REFINEMENT}.layer.residual': 'attention',
    f'{REFINEMENT}.layer.ffn_residual': False,
    f'{REFINEMENT}.aggregation.scale': 'all',
    f'{REFINEMENT}.aggregation.split_heads': True,
    f'{REFINEMENT}.aggregation.norm_order': 'double_residual',
    f'{REFINEMENT}.aggregation.dropout': 0.1,
}
# Heads of 32 channels, and no dropout.
SHAPES_LAYER = {'num_heads': 2, 'feedforward_channels': 64, 'dropout': 0.0}
# By config, what it is compared with and the settings in which it differs from that.
FORMS = {
    OFFICIAL: (
        '../ppmn/ppmn_r101-fpn_4xb12-14e_png',
        {
            **OFFICIAL_FORM,
            f'{NECK}.2.in_channels': 256,
            f'{NECK}.2.channels': 256,
            f'{REFINEMENT}.num_points': 100,
            f'{REFINEMENT}.max_seg_num': 64,
            f'{REFINEMENT}.layer.feedforward_channels': 256,
            f'{REFINEMENT}.layer.dropout': 0.1,
            'model.dropout_in_frozen': [],
            'train_dataloader.batch_size': 10,
            'auto_scale_lr.base_batch_size': 10,
            'train_cfg.max_epochs': 20,
            # A fixed learning rate.
            **{
                f'param_scheduler.{setting}': ABSENT
                for setting in ('type', 'milestones', 'gamma', 'by_epoch')
            },
        },
    ),
    PAPER: (
        OFFICIAL,
        {
            **PAPER_FORM,
            # Line 26 of Alg. 1: maps are supervised at the size of the image.
            f'{HEAD}.supervision_scale': 8,
            # The defaults, which the official form of the encoder leaves unsaid.
            f'{NECK}.1.layer.feedforward_channels': 256,
            f'{NECK}.1.layer.dropout': 0.1,
        },
    ),
    SHAPES: (
        '../ppmn/ppmn_r18-fpn_1xb8_shapes256',
        {
            **OFFICIAL_FORM,
            **{
                f'{layer}.{setting}': value
                for layer in (f'{NECK}.1.layer', f'{REFINEMENT}.layer')
                for setting, value in SHAPES_LAYER.items()
            },
            f'{NECK}.2.in_channels': 64,
            f'{NECK}.2.channels': 64,
            f'{REFINEMENT}.aggregation.num_heads': ABSENT,
        },
    ),
    # Supervised at the official form's resolution, so that maps stay small.
    PAPER_SHAPES: (SHAPES, {**PAPER_FORM, f'{REFINEMENT}.aggregation.dropout': 0.0}),
}
QUERY_RESIDUAL = {
    f'{NECK}.1.layer.residual': 'query',
    f'{REFINEMENT}.layer.residual': 'query',
}
ABLATIONS = {
    **{
        f'{OFFICIAL}_{name}': (OFFICIAL, changes)
        for name, changes in {
            'layers0': {f'{NECK}.1.num_layers': 0},
            'layers1': {f'{NECK}.1.num_layers': 1},
            'layers3': {f'{NECK}.1.num_layers': 3},
            'rounds0': {f'{HEAD}.num_rounds': 0},
            'rounds1': {f'{HEAD}.num_rounds': 1},
            'rounds2': {f'{HEAD}.num_rounds': 2},
            'k10': {f'{REFINEMENT}.num_points': 10},
            'k50': {f'{REFINEMENT}.num_points': 50},
            'k400': {f'{REFINEMENT}.num_points': 400},
        }.items()
    },
    f'{PAPER}_query-residual': (PAPER, QUERY_RESIDUAL),
    f'shapes/{SHAPES}_k16': (SHAPES, {f'{REFINEMENT}.num_points': 16}),
    f'shapes/{SHAPES}_layers0': (SHAPES, {f'{NECK}.1.num_layers': 0}),
    f'shapes/{SHAPES}_rounds0': (SHAPES, {f'{HEAD}.num_rounds': 0}),
    f'shapes/{PAPER_SHAPES}_query-residual': (PAPER_SHAPES, QUERY_RESIDUAL),
}
CONFIGS = {**FORMS, **{f'ablations/{name}': change for name, change in ABLATIONS.items()}}
# The full-scale ablations that only count otherwise train as the rest does.
TRAINED = [
    name
    for name in CONFIGS
    if name in FORMS or 'shapes' in name or name.endswith(('layers0', 'rounds0', 'query-residual'))
]


@pytest.fixture(scope='module')
def folder(config_dir):
    return config_dir / 'drmn'


def test_every_config_is_listed_here(folder):
    assert {str(path.relative_to(folder).with_suffix('')) for path in folder.rglob('*.py')} == set(
        CONFIGS
    )


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_differs_where_its_name_says(folder, name):
    base, changes = CONFIGS[name]
    assert differences(folder / f'{base}.py', folder / f'{name}.py') == changes


@pytest.mark.parametrize(
    ('name', 'tensors', 'parameters'),
    [
        (OFFICIAL, 210, 12_461_696),
        # An encoder layer has 16 tensors of 362,880 numbers; without any there are no level
        # embeddings either.
        (f'ablations/{OFFICIAL}_layers0', 210 - 2 * 16 - 1, 12_461_696 - 2 * 362_880 - 4 * 256),
        (f'ablations/{OFFICIAL}_layers3', 210 + 16, 12_461_696 + 362_880),
        (f'ablations/{OFFICIAL}_k10', 210, 12_461_696),
    ],
)
def test_size(folder, name, tensors, parameters):
    cfg = Config.fromfile(folder / f'{name}.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    trained = [own for own in model.parameters() if own.requires_grad]
    assert (len(trained), sum(own.numel() for own in trained)) == (tensors, parameters)


@pytest.mark.parametrize('name', TRAINED)
def test_two_training_steps(folder, shapes_root, tmp_path, name):
    cfg = shrink(Config.fromfile(folder / f'{name}.py'), shapes_root)
    # Eq. 17 of the paper leaves out the first map.
    first = 1 if 'drmn-paper' in name else 0
    last = 0 if name.endswith('rounds0') else 3
    train(cfg, tmp_path).assert_sound(range(first, last + 1))
