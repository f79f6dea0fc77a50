"""Every config of the project is whole: it builds, at full size, without memory."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmground import registry

ROOT = Path(__file__).parents[2] / 'configs'
CONFIGS = sorted(
    str(path.relative_to(ROOT)) for path in ROOT.rglob('*.py') if '_base_' not in path.parts
)
# Of mmdet's parts; their tests are in test_detector_configs.py.
DETECTORS = [
    'pbrec/fcos_r18_shapes.py',
    'pbrec/solo_r18_shapes.py',
    'reir/faster-rcnn_r18_shapes.py',
]
# Encoders to start from, which ground nothing.
ONLY_TRAINED = ['jmceln/clip_shapes.py']


def test_there_are_configs():
    assert 'ppmn/ppmn_r101-fpn_4xb12-14e_png.py' in CONFIGS


@pytest.mark.parametrize('system', sorted({Path(name).parts[0] for name in CONFIGS}))
def test_the_readme_of_a_system_links_all_its_configs(system):
    folder = ROOT / system
    text = (folder / 'README.md').read_text(encoding='utf-8')
    linked = {(folder / link).resolve() for link in re.findall(r'\]\(([^)]+\.py)\)', text)}
    assert all(path.is_file() for path in linked)
    # It may link those of other systems, too.
    assert {path for path in linked if folder in path.parents} == set(folder.rglob('*.py'))


@pytest.mark.parametrize('name', CONFIGS)
def test_the_model_builds_on_the_meta_device(name):
    cfg = Config.fromfile(ROOT / name)
    with torch.device('meta'):
        model = registry.MODELS.build(cfg.model)
    parameters = list(model.parameters())
    assert parameters
    assert all(parameter.is_meta for parameter in parameters)
    assert any(parameter.requires_grad for parameter in parameters)


@pytest.mark.parametrize('name', [name for name in CONFIGS if name not in DETECTORS])
def test_the_other_parts_exist_and_are_consistent(name):
    cfg = Config.fromfile(ROOT / name)
    assert cfg.default_scope == 'mmground'
    loaders = [cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader]
    for loader in loaders[:1] if name in ONLY_TRAINED else loaders:
        assert registry.DATASETS.get(loader.dataset.type) is not None
        for transform in loader.dataset.pipeline:
            registry.TRANSFORMS.build(transform)
    loop = cfg.train_cfg
    assert loop.get('max_epochs') or loop.get('max_iters')
    assert cfg.auto_scale_lr.base_batch_size >= cfg.train_dataloader.batch_size
    if name in ONLY_TRAINED:
        assert loaders[1:] == [None, None]
        return
    trained_on, tested_on = (
        loader.dataset.get('ann_file') or loader.dataset.split for loader in loaders[::2]
    )
    assert trained_on != tested_on
    evaluators = cfg.test_evaluator
    for evaluator in [evaluators] if isinstance(evaluators, dict) else evaluators:
        registry.METRICS.build(evaluator)
    save_best = cfg.default_hooks.checkpoint.save_best
    if save_best == 'auto':
        # The first value, which is the one to select by in this metric.
        assert cfg.val_evaluator.type == 'ReferringMetric'
    else:
        assert save_best in _measures(cfg.val_evaluator)


def _measures(evaluator):
    """Names of what a metric says of all samples."""
    metric = registry.METRICS.build(evaluator)
    names = dict(
        PNGMetric=lambda: [f'{protocol}/AR' for protocol in metric.protocols],
        PhraseGroundingMetric=lambda: ['Acc@0.5', 'PointIt'],
        ReferringMetric=lambda: [
            f'{protocol}/{measure}'
            for protocol in metric.protocols
            for measure in ('Acc@0.5', 'mIoU')
        ],
    )[evaluator.type]()
    return {f'{metric.default_prefix}/{name}' for name in names}


def test_the_full_recipe_is_the_published_one():
    cfg = Config.fromfile(ROOT / 'ppmn/ppmn_r101-fpn_4xb12-14e_png.py')
    assert cfg.train_dataloader.batch_size == 12
    assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=1e-4)
    assert (cfg.param_scheduler.milestones, cfg.param_scheduler.gamma) == ([10, 12], 0.5)
    assert cfg.train_cfg.max_epochs == 14
    assert cfg.model.head.num_rounds == 3
    assert cfg.model.head.refinement.num_points == 200
    assert cfg.test_dataloader.dataset.legacy_alignment
    with torch.device('meta'):
        model = registry.MODELS.build(cfg.model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == 9_398_528


def test_variants_differ_where_their_names_say():
    full = Config.fromfile(ROOT / 'ppmn/ppmn_r101-fpn_4xb12-14e_png.py')
    small = Config.fromfile(ROOT / 'ppmn/ppmn_r101-fpn_4xb3-14e_png.py')
    assert 4 * small.train_dataloader.batch_size == small.auto_scale_lr.base_batch_size == 12
    assert small.model == full.model
    single = Config.fromfile(ROOT / 'ppmn/ppmn_r101-fpn_1xb12-accum4-14e_png.py')
    assert single.train_dataloader.batch_size == single.auto_scale_lr.base_batch_size == 12
    batches = single.optim_wrapper.pop('accumulative_counts')
    assert batches * single.train_dataloader.batch_size == full.auto_scale_lr.base_batch_size
    assert single.model.pop('frozen_dtype') == 'bfloat16'
    assert (single.model, single.optim_wrapper) == (full.model, full.optim_wrapper)
    bert = Config.fromfile(ROOT / 'ppmn/ppmn_r101-fpn-bert_4xb12-14e_png.py')
    with torch.device('meta'):
        encoder = registry.MODELS.build(bert.model).text_encoder
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    assert bert.param_scheduler.type == 'PartMultiStepLR'
    assert bert.param_scheduler.milestones == [10, 12]
