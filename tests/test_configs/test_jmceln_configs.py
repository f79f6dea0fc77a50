"""Every config of JMCELN differs where its name says, and the recipe is the paper's."""

import pytest
import torch
from config_training import ABSENT, Recorder, differences
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner

from mmground.datasets.grounding_shapes import generate
from mmground.registry import MODELS, PARAM_SCHEDULERS

BASE, PLUS, LONG = (f'jmceln_r101_2xb10-60e_{name}' for name in ('refcoco', 'refcoco+', 'refcocog'))
SHAPES = 'jmceln_shapes'
CLIP = 'clip_shapes'
HEAD = 'model.head'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def _data(name):
    return {f'{loader}.dataset.name': name for loader in LOADERS}


def _squash():
    settings = dict(
        type='Resize', size=ABSENT, scale=(416, 416), keep_ratio=False, backend='pillow'
    )
    return {
        f'{loader}.dataset.pipeline.{2 if loader == LOADERS[0] else 1}.{name}': value
        for loader in LOADERS
        for name, value in settings.items()
    }


def _head_lr():
    keys = 'optim_wrapper.paramwise_cfg.custom_keys'
    changes = {'optim_wrapper.optimizer.lr': 6e-5}
    for key in (
        'backbone',
        'text_encoder',
        'backbone.attnpool.positional_embedding',
        'text_encoder.positional_embedding',
        'text_encoder.token_embedding',
    ):
        changes |= {f'{keys}.{key}.lr_mult': 0.1, f'{keys}.{key}.decay_mult': 0.0}
    return changes


# Rows of Table 2, of the recipe and of Grounding Shapes alike.
ROWS = {
    'baseline': {f'{HEAD}.use_lsran': False, f'{HEAD}.num_stages': 0},
    'lsran': {f'{HEAD}.num_stages': 0},
    'cascade': {f'{HEAD}.use_lsran': False, f'{HEAD}.use_alignment': False},
    'no-pan': {f'{HEAD}.use_alignment': False},
    'static-context': {f'{HEAD}.adaptive_context': False},
}
OTHERS = {
    'coord': {f'{HEAD}.fusion.with_coord': True},
    'dice': {
        f'{HEAD}.loss_dice.type': 'mmdet.DiceLoss',
        f'{HEAD}.loss_dice.naive_dice': True,
        f'{HEAD}.loss_dice.eps': 1.0,
    },
    'class-weights': {
        f'{HEAD}.loss_ce.type': 'mmdet.CrossEntropyLoss',
        f'{HEAD}.loss_ce.class_weight': [0.9, 1.1],
        f'{HEAD}.loss_ce.avg_non_ignore': True,
    },
    'mask-padding': {f'{HEAD}.mask_padding': True},
    'shared-stages': {f'{HEAD}.share_stages': True},
    'no-context-norm': {f'{HEAD}.norm_context': False},
    'no-attnpool': {
        'model.backbone.attention_pool': None,
        f'{HEAD}.in_channels': (512, 1024, 2048),
    },
    'head-lr': _head_lr(),
    'squash': _squash(),
}
# By config, what it is compared with and the settings in which it differs from that.
CONFIGS = {
    PLUS: (BASE, _data('refcoco+')),
    LONG: (BASE, _data('refcocog')),
    **{f'ablations/{BASE}_{name}': (BASE, changes) for name, changes in (ROWS | OTHERS).items()},
    **{f'ablations/shapes/{SHAPES}_{name}': (SHAPES, changes) for name, changes in ROWS.items()},
    f'ablations/shapes/{SHAPES}_no-coord': (SHAPES, {f'{HEAD}.fusion.with_coord': False}),
}


@pytest.fixture(scope='module')
def folder(config_dir):
    return config_dir / 'jmceln'


def test_every_config_is_listed_here(folder):
    found = {str(path.relative_to(folder).with_suffix('')) for path in folder.rglob('*.py')}
    assert found == {BASE, CLIP, SHAPES, *CONFIGS}


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_differs_where_its_name_says(folder, name):
    base, changes = CONFIGS[name]
    assert differences(folder / f'{base}.py', folder / f'{name}.py') == changes


def test_the_recipe_is_the_papers(folder):
    cfg = Config.fromfile(folder / f'{BASE}.py')
    assert 2 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 20
    assert cfg.train_dataloader.dataset.unit == 'ref'
    assert cfg.train_pipeline[1].type == 'DrawSentence'
    for loader in LOADERS:
        (letterbox,) = (
            own for own in cfg[loader].dataset.pipeline if own.type not in _NOT_RESIZING
        )
        assert letterbox == dict(type='Letterbox', size=416, interpolation='bicubic')
    assert cfg.train_cfg.max_epochs == 60
    assert cfg.sync_bn == 'torch'
    assert cfg.model.text_encoder.max_length == 30
    head = cfg.model.head
    fixed = dict(channels=1024, num_stages=6, num_contexts=20, num_heads=8)
    assert {name: head[name] for name in fixed} == fixed
    assert head.alignment.norm_cfg == dict(type='SwitchNorm2d', sync=True)
    assert cfg.default_hooks.checkpoint.save_best == 'referring/original/mIoU'
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.backbone.out_channels == tuple(cfg.model.head.in_channels)
    assert model.text_encoder.sentence_channels == cfg.model.head.sentence_channels
    # About a hundred millions each: CLIP, and the six stages.
    millions = {
        name: sum(own.numel() for own in part.parameters()) / 1e6
        for name, part in dict(
            clip=torch.nn.ModuleList([model.backbone, model.text_encoder]),
            stages=model.head.stages,
        ).items()
    }
    assert 95 < millions['stages'] < 100 and 95 < millions['clip'] < 125


_NOT_RESIZING = (
    'LoadGroundingImage',
    'DrawSentence',
    'LoadGroundingMasks',
    'PackGroundingInputs',
)


def _groups(cfg):
    """Learning rate and weight decay of each parameter, and the optimiser."""
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    settings = {
        id(own): (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for own in group['params']
    }
    named = dict(model.named_parameters())
    assert len(settings) == len(named)
    return {name: (own.ndim, *settings[id(own)]) for name, own in named.items()}, wrapper


EMBEDDINGS = {
    'backbone.attnpool.positional_embedding',
    'text_encoder.positional_embedding',
    'text_encoder.token_embedding.weight',
    'head.lsran.attention.w_msa.relative_position_bias_table',
    'head.context.weight',
}


def test_rates_and_decay(folder):
    cfg = Config.fromfile(folder / f'{BASE}.py')
    groups, wrapper = _groups(cfg)
    assert groups.keys() >= EMBEDDINGS
    for name, (ndim, rate, decay) in groups.items():
        assert rate == 6e-6
        assert decay == (0.0 if ndim <= 1 or name in EMBEDDINGS else 0.01), name
    scheduler = PARAM_SCHEDULERS.build(
        dict(cfg.param_scheduler, optimizer=wrapper.optimizer, epoch_length=4)
    )
    wrapper.optimizer._opt_called = True
    # MMEngine's decay is over one step less: it reaches zero in the last iteration.
    for step in range(1, 240):
        scheduler.step()
        if step in (1, 120, 238, 239):
            rate = wrapper.optimizer.param_groups[0]['lr']
            assert rate == pytest.approx(6e-6 * (1 - step / 239) ** 0.9, rel=1e-6, abs=1e-15)


def test_a_rate_for_the_head(folder):
    groups, _ = _groups(Config.fromfile(folder / f'ablations/{BASE}_head-lr.py'))
    for name, (ndim, rate, decay) in groups.items():
        in_head = name.startswith('head.')
        assert rate == pytest.approx(6e-5 if in_head else 6e-6), name
        undecayed = not in_head or ndim <= 1 or name in EMBEDDINGS
        assert decay == (0.0 if undecayed else 0.01), name


@pytest.fixture(scope='module')
def refcoco_shapes(tmp_path_factory):
    """A few pictures of 64 pixels with expressions."""
    root = tmp_path_factory.mktemp('jmceln') / 'shapes'
    splits = dict(train=6, val=2, test=1)
    generate(root, formats=['refcoco'], counts=splits, size=64, workers=1)
    return str(root)


def _small(cfg, data_root: str, work_dir) -> None:
    """Little of everything, for a training of two iterations."""
    model = cfg.model
    model.backbone.update(width=8)
    model.backbone.attention_pool.update(embed_dim=16, num_heads=2)
    model.text_encoder.update(hidden_size=16, num_layers=1, num_heads=2, embed_dim=16)
    for loader in LOADERS:
        if cfg[loader]:
            cfg[loader].update(batch_size=4, num_workers=0, persistent_workers=False)
            cfg[loader].dataset.data_root = data_root
    cfg.train_cfg.max_iters = 2
    cfg.default_hooks.checkpoint.interval = 2
    cfg.default_hooks.pop('visualization')
    cfg.visualizer.pop('name')
    cfg.work_dir, cfg.experiment_name = str(work_dir), work_dir.name


class FirstWeights(Hook):
    """Keeps what a training starts with."""

    def before_train(self, runner):
        weights = runner.model.state_dict()
        self.weights = {name: value.clone() for name, value in weights.items()}


def _train(cfg, *names: str) -> tuple[Runner, dict]:
    """Train, with what was trained and the weights it started with."""
    runner = Runner.from_cfg(cfg)
    recorder, first = Recorder(), FirstWeights()
    runner.register_hook(recorder, priority='LOWEST')
    runner.register_hook(first)
    runner.train()
    assert [set(own) for own in recorder.losses] == 2 * [{'loss', *names}]
    moments = runner.optim_wrapper.optimizer.state
    for name, own in runner.model.named_parameters():
        assert moments[own]['exp_avg'].isfinite().all(), name
    return runner, first.weights


def test_shapes_train_from_their_clip_and_keep_the_best(folder, refcoco_shapes, tmp_path):
    cfg = Config.fromfile(folder / f'{CLIP}.py')
    _small(cfg, refcoco_shapes, tmp_path / 'clip')
    clip, _ = _train(cfg, 'loss_contrast', 'matched')

    cfg = Config.fromfile(folder / f'{SHAPES}.py')
    _small(cfg, refcoco_shapes, tmp_path / 'jmceln')
    assert cfg.clip_checkpoint == f'work_dirs/{CLIP}/iter_1200.pth'
    for part in ('backbone', 'text_encoder'):
        assert cfg.model[part].init_cfg.checkpoint == cfg.clip_checkpoint
        cfg.model[part].init_cfg.checkpoint = str(tmp_path / 'clip/iter_2.pth')
    cfg.model.head.update(in_channels=(64, 128, 16), sentence_channels=16, channels=16)
    cfg.model.head.upsampling.channels = (8, 4)
    cfg.train_cfg.val_interval = 2
    runner, first = _train(cfg, 'loss_ce', 'loss_dice', 'truncated_texts')
    learned = clip.model.state_dict()
    shared = [name for name in first if name.startswith(('backbone.', 'text_encoder.'))]
    assert len(shared) > 50
    for name in shared:
        assert torch.equal(first[name], learned[name]), name
    (best,) = (tmp_path / 'jmceln').glob('best_referring_original_mIoU_iter_2.pth')
    runner.load_checkpoint(str(best))
