"""Every config of PBREC differs where its name says, and the recipe is the published one."""

import argparse
import math
from types import SimpleNamespace

import pytest
import torch
from config_training import ABSENT, differences
from data_factory import write_refer_dataset
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from small_detectors import build_detector, small_fcos, small_solo
from small_pbrec import small_pbrec
from small_ppmn import write_vocabulary

from mmground.models.heads.point_localisation import TASK_OF_LOCALISER
from mmground.registry import METRICS, MODELS, PARAM_SCHEDULERS
from mmground.utils.cli import add_runner_arguments, load_config

BASE, PLUS, LONG = (
    f'pbrec-mt_r101_4xb32-15e_{name}' for name in ('refcoco', 'refcoco+', 'refcocog')
)
SHAPES = 'pbrec-mt_r18_shapes'
HEAD = 'model.head'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def _data(name):
    return {f'{loader}.dataset.name': name for loader in LOADERS}


def _of_table_5():
    for k in (1, 4, 8, 12, 16):
        topk = {} if k == 12 else {f'{HEAD}.test_cfg.topk': k}
        yield f'k{k}-center', {**topk, f'{HEAD}.test_cfg.score_mode': 'ref'}
        if topk:
            yield f'k{k}', topk


def _targets(setting, value, *tasks):
    return {f'{HEAD}.targets.{task}.{setting}': value for task in tasks}


# By config, what it is compared with and the settings in which it differs from that.
CONFIGS = {
    PLUS: (BASE, _data('refcoco+')),
    LONG: (BASE, {**_data('refcocog'), 'model.text_encoder.max_length': 40}),
    'pbrec-mt_r101_2xb32-15e_refcoco': (BASE, {'auto_scale_lr.base_batch_size': 64}),
    'pbrec-mt_r101-unseen_4xb32-15e_refcoco': (
        BASE,
        {'model.backbone.init_cfg.checkpoint': 'data/detr-r101-without-refcoco/backbone.pth'},
    ),
    **{
        whole.replace('-mt_', f'-{task}_'): (whole, {f'{HEAD}.tasks': [task]})
        for whole in (BASE, PLUS, LONG)
        for task in ('rec', 'res')
    },
    **{
        f'ablations/{PLUS.replace("-mt_", f"-{task}_")}_hard': (
            PLUS.replace('-mt_', f'-{task}_'),
            _targets('hard', True, task),
        )
        for task in ('rec', 'res')
    },
    **{
        f'ablations/{PLUS}_{name}': (PLUS, changes)
        for name, changes in {
            'hard': _targets('hard', True, 'rec', 'res'),
            'hard-rec': _targets('hard', True, 'rec'),
            'hard-res': _targets('hard', True, 'res'),
            'paper-targets': _targets('form', 'paper', 'rec', 'res'),
            'fixed-targets': _targets('form', 'fixed', 'rec', 'res'),
            'eq6-loss': {f'{HEAD}.squared_norm': True},
            'no-padding': {f'{HEAD}.ignore_padding': True, f'{HEAD}.cell_anchor': 'centre'},
            **dict(_of_table_5()),
        }.items()
    },
    **{
        f'ablations/shapes/{SHAPES}_{name}': (SHAPES, changes)
        for name, changes in {
            'hard': _targets('hard', True, 'rec', 'res'),
            'refcoco+': _data('refcoco+'),
            'refcocog': {**_data('refcocog'), 'model.text_encoder.max_length': 40},
        }.items()
    },
}
TABLE_5 = f'ablations/{PLUS}_table5'


@pytest.fixture(scope='module')
def folder(config_dir):
    return config_dir / 'pbrec'


def test_every_config_is_listed_here(folder):
    found = {str(path.relative_to(folder).with_suffix('')) for path in folder.rglob('*.py')}
    assert {name for name in found if not name.endswith('_shapes')} == {BASE, TABLE_5, *CONFIGS}


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_differs_where_its_name_says(folder, name):
    base, changes = CONFIGS[name]
    found = differences(folder / f'{base}.py', folder / f'{name}.py')
    # A single task has one localiser.
    prefix = 'model.localisers.'
    localisers = {key for key in found if key.startswith(prefix)}
    left_out = {key.removeprefix(prefix).split('.')[0] for key in localisers}
    tasks = changes.get(f'{HEAD}.tasks', ['rec', 'res'])
    assert left_out == {
        localiser for localiser, task in TASK_OF_LOCALISER.items() if task not in tasks
    }
    assert {key: value for key, value in found.items() if key not in localisers} == changes
    assert ABSENT not in changes.values()


def test_table_5_in_one_pass_is_that_of_its_configs(folder):
    found = differences(folder / f'{PLUS}.py', folder / f'{TABLE_5}.py')
    of_metrics = {key for key in found if key.startswith('test_evaluator.')}
    assert {key: value for key, value in found.items() if key not in of_metrics} == {
        f'{HEAD}.test_cfg.topk': 16,
        f'{HEAD}.test_cfg.keep_candidates': True,
        'test_dataloader.dataset.split': 'val',
    }
    cfg = Config.fromfile(folder / f'{TABLE_5}.py')
    metrics = [METRICS.build(metric) for metric in cfg.test_evaluator]
    by_itself = set()
    for changes in [{}, *dict(_of_table_5()).values()]:
        k = changes.get(f'{HEAD}.test_cfg.topk', 12)
        by_itself.add((k, changes.get(f'{HEAD}.test_cfg.score_mode')))
    assert {(metric.topk, metric.score_mode) for metric in metrics} == by_itself
    assert len(metrics) == len(by_itself) == 10


def test_the_recipe_is_the_published_one(folder):
    cfg = Config.fromfile(folder / f'{BASE}.py')
    assert 4 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 128
    assert cfg.train_cfg.max_epochs == 15
    assert cfg.model.text_encoder.max_length == 30
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    backbone = dict(model.backbone.named_parameters())
    frozen = {name.split('.')[0] for name, own in backbone.items() if not own.requires_grad}
    trained = {name.split('.')[0] for name, own in backbone.items() if own.requires_grad}
    assert trained == {'layer2', 'layer3', 'layer4'}
    # The normalisation of the others.
    assert frozen == {'conv1', 'bn1', 'layer1', *trained}
    assert not any('bn' in name for name, own in backbone.items() if own.requires_grad)
    # What the official checkpoint has beside its encoders, and uses.
    assert sum(own.numel() for own in model.head.parameters()) == 5_724_674


def test_learning_rates(folder):
    """1e-4 falls to 1e-6 in each iteration; the encoders stay at 1e-6."""
    cfg = Config.fromfile(folder / f'{BASE}.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    scheduler = PARAM_SCHEDULERS.build(
        dict(cfg.param_scheduler, optimizer=wrapper.optimizer, epoch_length=4)
    )
    names = {id(own): name for name, own in model.named_parameters() if own.requires_grad}

    def rates():
        found = {'head': set(), 'backbone': set(), 'text_encoder': set()}
        for group in wrapper.optimizer.param_groups:
            assert group['weight_decay'] == 1e-4
            for own in group['params']:
                if id(own) in names:
                    found[names[id(own)].split('.')[0]].add(round(group['lr'], 12))
        return found

    assert rates() == {'head': {1e-4}, 'backbone': {1e-6}, 'text_encoder': {1e-6}}
    # Half of 15 epochs of four iterations.
    for _ in range(30):
        wrapper.optimizer._opt_called = True
        scheduler.step()
    assert rates() == {'head': {5.05e-5}, 'backbone': {1e-6}, 'text_encoder': {1e-6}}
    # The last iteration, one step before the floor.
    for _ in range(29):
        scheduler.step()
    last = round(1e-6 + (1e-4 - 1e-6) * (1 + math.cos(math.pi * 59 / 60)) / 2, 12)
    assert rates() == {'head': {last}, 'backbone': {1e-6}, 'text_encoder': {1e-6}}


@pytest.fixture(scope='module')
def small_files(tmp_path_factory):
    """A few referring expressions, a vocabulary, and the weights of two small detectors."""
    root = tmp_path_factory.mktemp('pbrec')
    detectors = dict(box=small_fcos(), mask=small_solo())
    for name, cfg in detectors.items():
        torch.save(dict(state_dict=build_detector(cfg).state_dict()), root / f'{name}.pth')
    return SimpleNamespace(
        data=write_refer_dataset(root / 'data'),
        vocab=write_vocabulary(root / 'vocab.txt'),
        detectors=detectors,
        root=root,
    )


def _shrink(cfg, files, work_dir):
    """One epoch of the same classes, with small widths and pictures."""
    small = small_pbrec(files.vocab)
    cfg.model.backbone.update(small['backbone'], init_cfg=None, frozen_stages=1)
    cfg.model.text_encoder = small['text_encoder']
    cfg.model.head.update({k: v for k, v in small['head'].items() if k != 'type'})
    for name, localiser in (cfg.model.localisers or {}).items():
        if localiser:
            localiser.detector = files.detectors[name]
            localiser.checkpoint = str(files.root / f'{name}.pth')
    for part in ('train', 'val', 'test'):
        loader = cfg[f'{part}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.data_root = files.data
        for transform in loader.dataset.pipeline:
            if transform.type == 'Letterbox':
                transform.update(size=128, long_sides=None)
    cfg.train_cfg.max_epochs = 1
    cfg.visualizer.pop('name')
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = work_dir.name
    return cfg


@pytest.mark.parametrize(
    ('task', 'options', 'best'),
    [
        ('mt', [], 'original/Acc@0.5'),
        ('rec', [], 'original/Acc@0.5'),
        ('res', [], 'original/mIoU'),
        ('mt', ['model.localisers.box=None'], 'original/mIoU'),
        ('mt', ['model.localisers=None'], 'original/point_acc'),
    ],
)
def test_a_training_selects_by_what_the_model_predicts(
    folder, small_files, tmp_path, task, options, best
):
    parser = argparse.ArgumentParser()
    add_runner_arguments(parser)
    argv = [str(folder / f'{BASE.replace("-mt_", f"-{task}_")}.py')]
    args = parser.parse_args([*argv, *(['--cfg-options', *options] if options else [])])
    runner = Runner.from_cfg(_shrink(load_config(parser, args), small_files, tmp_path))
    runner.train()
    (found,) = tmp_path.glob('best_*.pth')
    assert found.name == f'best_referring_{best.replace("/", "_")}_epoch_1.pth'
    # Tested with the kinds of expressions apart.
    values = runner.test()
    assert f'referring/{best}' in values
    assert f'referring/{best}/size_small' in values or f'referring/{best}/size_medium' in values
