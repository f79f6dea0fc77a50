"""Every config of ReIR differs where its name says, and the recipe is the published one."""

import pytest
import torch
from config_training import differences
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from mmground.registry import MODELS, PARAM_SCHEDULERS

BASE = 'reir_r101_4xb10-80k_flickr30k'
HEAD = 'model.head'
# The graph as a whole, which a config leaves out.
NO_GRAPH = {
    f'{HEAD}.graph': None,
    f'{HEAD}.num_relations': 0,
    **{f'{HEAD}.graph.{name}': '<absent>' for name in ('type', 'edge_channels', 'form', 'edges')},
}
NO_REGRESSION = {f'{HEAD}.regressor_channels': None}
ABLATIONS = {
    'baseline': {
        f'{HEAD}.num_stages': 1,
        f'{HEAD}.rec_stages': ['coarse'],
        f'{HEAD}.rank_stages': ['coarse'],
        **NO_GRAPH,
        **NO_REGRESSION,
    },
    'tsd': NO_GRAPH | NO_REGRESSION,
    'tsd-str-visual': NO_GRAPH | {f'{HEAD}.regress_with_phrase': False},
    'tsd-str': NO_GRAPH,
    'tsd-vogn': NO_REGRESSION,
    'uniform-edges': {f'{HEAD}.graph.edges': 'uniform'},
    'k3': {f'{HEAD}.topk': 3},
    'k10': {f'{HEAD}.topk': 10},
    'caffe-backbone': {
        'model.backbone.style': 'caffe',
        'model.region_encoder.dilation': 2,
    },
    'mlp-matcher': {f'{HEAD}.matcher_channels': 256},
    'paper': {
        'model.region_encoder.spatial': True,
        'model.text_encoder.rnn': 'lstm',
        'model.text_encoder.embed_channels': 2048,
        'model.text_encoder.channels': 2048,
        f'{HEAD}.channels': 2048,
        f'{HEAD}.spatial_channels': 98,
        f'{HEAD}.matcher_channels': 256,
        f'{HEAD}.similarity.form': 'paper',
        f'{HEAD}.softmax': 'plain',
        f'{HEAD}.graph.form': 'paper',
        f'{HEAD}.decoder.rnn': 'lstm',
        f'{HEAD}.fine_context': 'fine',
        f'{HEAD}.fusion': 'scores',
        f'{HEAD}.loss_rec.reduction': 'sum',
        f'{HEAD}.loss_reg.score_gap': 0.0,
        f'{HEAD}.loss_reg.reduction': 'sum',
        f'{HEAD}.loss_rel.form': 'ce',
        f'{HEAD}.rec_stages': ['coarse', 'fine'],
        f'{HEAD}.reg_start': 'refining',
        f'{HEAD}.detach_boxes': True,
    },
}
# What the losses of Table 2's rows are, beside those of the config's text.
TABLE_2 = {
    'baseline': {'rec_coarse', 'rank_coarse'},
    'tsd': {'rec_fine', 'rank_coarse', 'rank_fine'},
    'tsd-str-visual': {'rec_fine', 'rank_coarse', 'rank_fine', 'reg_coarse', 'reg_fine'},
    'tsd-str': {'rec_fine', 'rank_coarse', 'rank_fine', 'reg_coarse', 'reg_fine'},
    'tsd-vogn': {'rec_fine', 'rank_coarse', 'rank_fine', 'rel'},
    'uniform-edges': {'rec_fine', 'rank_coarse', 'rank_fine', 'reg_coarse', 'reg_fine', 'rel'},
}


@pytest.fixture(scope='module')
def folder(config_dir):
    return config_dir / 'reir'


def _path(folder, name):
    return folder / (f'ablations/{BASE}_{name}.py' if name in ABLATIONS else f'{name}.py')


def test_every_ablation_is_listed_here(folder):
    found = {path.stem for path in folder.glob('ablations/*.py')}
    assert found == {f'{BASE}_{name}' for name in ABLATIONS}


@pytest.mark.parametrize('name', ABLATIONS)
def test_an_ablation_differs_where_its_name_says(folder, name):
    assert differences(folder / f'{BASE}.py', _path(folder, name)) == ABLATIONS[name]


@pytest.mark.parametrize('name', [*TABLE_2, BASE])
def test_the_losses_of_table_2(folder, name):
    with torch.device('meta'):
        head = MODELS.build(Config.fromfile(_path(folder, name)).model.head)
    losses = {f'rec_{stage}' for stage in head.rec_stages}
    if head.loss_rank is not None:
        losses |= {f'rank_{stage}' for stage in head.rank_stages}
    if head.box_regressor is not None:
        losses |= {'reg_coarse', 'reg_fine'}
    if head.relation is not None:
        losses.add('rel')
    assert losses == TABLE_2.get(name, TABLE_2['uniform-edges'])


@pytest.mark.parametrize('name', [BASE, 'reir_r101_4xb10-80k_referitgame'])
def test_the_recipe_is_the_published_one(folder, name):
    cfg = Config.fromfile(folder / f'{name}.py')
    assert 4 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 40
    assert (cfg.train_cfg.type, cfg.train_cfg.max_iters) == ('IterBasedTrainLoop', 80000)
    (start,) = (hook.start for hook in cfg.custom_hooks if 'start' in hook)
    assert start == 7501
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    frozen = {name.split('.')[0] for name, own in model.named_parameters() if not own.requires_grad}
    trained = {name.split('.')[0] for name, own in model.named_parameters() if own.requires_grad}
    assert frozen == {'backbone', 'region_encoder'}
    assert trained == {'text_encoder', 'head'}
    graph = name == BASE
    assert (model.head.graph is not None) == (model.head.relation is not None) == graph
    assert model.head.visual_norm.per_segment == graph


def test_learning_rates(folder):
    """From 1e-6 up to 1e-3 in 500 iterations, a tenth from 32k and again from 40k on."""
    cfg = Config.fromfile(folder / f'{BASE}.py')
    model = torch.nn.Linear(2, 2)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(own, optimizer=wrapper.optimizer))
        for own in cfg.param_scheduler
    ]
    wrapper.optimizer._opt_called = True
    expected = {0: 1e-6, 250: 1e-6 + 0.5 * (1e-3 - 1e-6), 500: 1e-3, 31999: 1e-3}
    expected |= {32000: 1e-4, 39999: 1e-4, 40000: 1e-5}
    for iteration in range(40001):
        if iteration in expected:
            (group,) = wrapper.optimizer.param_groups
            assert group['lr'] == pytest.approx(expected[iteration]), iteration
            assert (group['weight_decay'], group['momentum']) == (5e-4, 0.9)
        for scheduler in schedulers:
            scheduler.step()
