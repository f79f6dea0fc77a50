"""ReIR on Grounding Shapes: every config as it is trains from the detector's checkpoint."""

import numpy as np
import pytest
import torch
from config_training import differences
from mmengine.config import Config
from mmengine.runner import Runner

from mmground.apis import init_model
from mmground.datasets.grounding_shapes import generate
from mmground.datasets.grounding_shapes.lexicon import THINGS
from mmground.datasets.proposal_store import ProposalWriter
from mmground.datasets.relation_file import RelationFile
from mmground.registry import DATASETS, MODELS

BASE = 'reir_r18_shapes'
FULL = 'reir_r101_4xb10-80k_flickr30k'
ABLATIONS = (
    'baseline', 'tsd', 'tsd-str-visual', 'tsd-str', 'tsd-vogn', 'uniform-edges', 'k3', 'k10',
)  # fmt: skip
LINEAR = 'linear-matcher'
REFERIT = f'{BASE}_referit'
COUNTS = dict(train=6, val=2, test=1)


@pytest.fixture(scope='module')
def folder(config_dir):
    return config_dir / 'reir'


@pytest.fixture(scope='module')
def root(tmp_path_factory, folder):
    """Pictures with captions, a detector with random weights, and proposals at random places."""
    root = tmp_path_factory.mktemp('reir') / 'shapes'
    generate(root, formats=['flickr30k', 'referit'], counts=COUNTS, size=64, workers=1)
    torch.manual_seed(0)
    detector = MODELS.build(Config.fromfile(folder / 'faster-rcnn_r18_shapes.py').model)
    for name, value in detector.state_dict().items():
        if 'running_mean' in name:
            value.uniform_(-0.1, 0.1)
        elif 'running_var' in name:
            value.uniform_(0.5, 1.5)
    torch.save(dict(state_dict=detector.state_dict()), root / 'detector.pth')
    rng = np.random.default_rng(0)
    header = dict(detector='random', classes=list(THINGS), config_hash='')
    with ProposalWriter(str(root / 'proposals.db'), header) as writer:
        for split in COUNTS:
            for name in (root / f'flickr30k/{split}.txt').read_text().split():
                corners = np.sort(rng.uniform(0, 64, (60, 2, 2)), axis=1)
                corners[:, 1] += 1
                own = dict(
                    boxes=corners.reshape(60, 4).clip(0, 65),
                    labels=rng.integers(len(THINGS), size=60),
                    scores=np.linspace(0.9, 0.1, 60),
                )
                # As each of the layouts calls the picture.
                writer.add([(name, own), (str(int(name)), own)])
    return root


def _at(value, root):
    """A config with the files of ``root`` in place of those that its users make."""
    if isinstance(value, dict):
        return {key: _at(own, root) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_at(own, root) for own in value)
    if isinstance(value, str):
        checkpoint = 'work_dirs/faster-rcnn_r18_shapes/iter_1200.pth'
        value = value.replace(checkpoint, f'{root}/detector.pth')
        return value.replace('data/shapes', str(root)).replace('work_dirs', f'{root}/work')
    return value


def _config(path, root):
    cfg = Config(_at(Config.fromfile(path)._cfg_dict.to_dict(), root))
    for name in COUNTS:
        cfg[f'{name}_dataloader'].update(batch_size=4, num_workers=0, persistent_workers=False)
    return cfg


def _path(folder, name):
    ablation = name in (*ABLATIONS, LINEAR)
    return folder / (f'ablations/shapes/{BASE}_{name}.py' if ablation else f'{name}.py')


def _batch(cfg, count=4):
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    # Of four pictures.
    step = len(dataset) // COUNTS['train']
    items = [dataset[index] for index in range(0, step * count, step)]
    return {key: [item[key] for item in items] for key in ('inputs', 'data_samples')}


def _assert_from_detector(model, root):
    weights = torch.load(root / 'detector.pth')['state_dict']
    for part, prefix in (('backbone', 'backbone.'), ('region_encoder', 'roi_head.shared_head.')):
        own = model.get_submodule(part).state_dict()
        assert own
        for key, value in own.items():
            assert torch.equal(value, weights[prefix + key]), key


def test_every_ablation_is_listed_here(folder):
    found = {path.stem for path in folder.glob('ablations/shapes/*.py')}
    assert found == {f'{BASE}_{name}' for name in (*ABLATIONS, LINEAR)}


@pytest.mark.parametrize('name', ABLATIONS)
def test_an_ablation_is_that_of_the_full_scale(folder, name):
    full = differences(folder / f'{FULL}.py', folder / f'ablations/{FULL}_{name}.py')
    assert differences(folder / f'{BASE}.py', _path(folder, name)) == full
    assert full


def test_the_linear_matcher_is_that_of_the_official_code(folder):
    (change,) = differences(folder / f'{BASE}.py', _path(folder, LINEAR)).items()
    assert change == ('model.head.matcher_channels', None)
    assert Config.fromfile(folder / f'{FULL}.py').model.head.matcher_channels is None


def test_numbers_are_those_of_the_data_and_of_the_detector(folder):
    cfg = Config.fromfile(folder / f'{BASE}.py')
    detector = Config.fromfile(folder / 'faster-rcnn_r18_shapes.py')
    checkpoint = f'work_dirs/faster-rcnn_r18_shapes/iter_{detector.train_cfg.max_iters}.pth'
    for part in (cfg.model.backbone, cfg.model.region_encoder):
        assert part.init_cfg.checkpoint == checkpoint
    ours, theirs = cfg.model.data_preprocessor, detector.model.data_preprocessor
    for key in ('mean', 'std', 'bgr_to_rgb', 'pad_size_divisor'):
        assert ours[key] == theirs[key], key
    (resize,) = (own for own in cfg.train_pipeline if own.type == 'Resize')
    (other,) = (own for own in detector.train_pipeline if own.type == 'mmdet.Resize')
    assert {**other, 'type': 'Resize'} == resize
    extractor = detector.model.roi_head.bbox_roi_extractor
    (stride,) = extractor.featmap_strides
    encoder = MODELS.build(cfg.model.region_encoder)
    pool, layer = encoder.pool, extractor.roi_layer
    assert pool.output_size == (layer.output_size, layer.output_size)
    assert (pool.spatial_scale, pool.sampling_ratio) == (1 / stride, layer.sampling_ratio)
    assert encoder.out_channels == cfg.model.head.in_channels


def test_expressions_are_learned_as_at_full_scale(folder):
    """But for the data and its files, no other setting differs."""

    def settings(base, path):
        found = differences(folder / f'{base}.py', folder / f'{path}.py')
        files = ('vocab_file', 'extra_words', 'classes')
        return {
            key: value
            for key, value in found.items()
            if key.startswith('model') and not key.endswith(files)
        }

    ours, theirs = settings(BASE, REFERIT), settings(FULL, 'reir_r101_4xb10-80k_referitgame')
    # Both of ours take the batch.
    assert theirs.pop('model.head.per_image_bn') is False
    assert ours == theirs
    for name in (BASE, REFERIT):
        assert Config.fromfile(folder / f'{name}.py').model.head.per_image_bn is False
    found = differences(folder / f'{BASE}.py', folder / f'{REFERIT}.py')
    for key in found:
        assert key.startswith(('model.head.', *(f'{name}_dataloader.dataset.' for name in COUNTS)))
    for name in COUNTS:
        loader = Config.fromfile(folder / f'{REFERIT}.py')[f'{name}_dataloader']
        assert loader.dataset.split == name


@pytest.mark.parametrize('name', [BASE, *ABLATIONS, LINEAR, REFERIT])
def test_a_config_learns_and_predicts(folder, root, tmp_path, name):
    cfg = _config(_path(folder, name), root)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    _assert_from_detector(model, root)
    if model.head.relation is not None:
        assert cfg.model.head.num_relations == f'{root}/{cfg.relations}'
        predicates = RelationFile.load(cfg.model.head.num_relations).predicates
        assert model.head.relation[-1].out_features == len(predicates) > 1
    losses = model.train()(**model.data_preprocessor(_batch(cfg)), mode='loss')
    assert losses['unknown_words'] == losses['dropped_phrases'] == 0
    total = model.parse_losses(losses)[0]
    total.backward()
    assert total.isfinite()
    for key, value in model.named_parameters():
        if value.requires_grad:
            assert value.grad is not None, key
            assert value.grad.isfinite().all(), key
    with torch.no_grad():
        predicted = model.eval().test_step(_batch(cfg))
    for sample in predicted:
        assert sample.pred_phrases.bboxes.shape == (len(sample.phrases), 4)
        assert sample.pred_phrases.bboxes.isfinite().all()
        assert len(sample.proposals.bboxes) == 50


def test_a_training_from_the_first_step_to_a_loaded_checkpoint(folder, root, tmp_path):
    cfg = _config(_path(folder, BASE), root)
    cfg.train_cfg.update(max_iters=8, val_interval=8)
    cfg.default_hooks.checkpoint.interval = 8
    (start,) = (hook for hook in cfg.custom_hooks if hook.type == 'RefinementStartHook')
    start.start = 4
    cfg.model.region_cache.path = str(tmp_path / 'regions')
    cfg.work_dir = str(tmp_path / 'work')
    cfg.experiment_name = tmp_path.name
    cfg.visualizer.pop('name')
    runner = Runner.from_cfg(cfg)
    model = runner.model
    seen = []
    model.backbone.register_forward_pre_hook(
        lambda _, args: seen.append(len(args[0])) if model.training else None
    )
    runner.train()
    # Six pictures in 32 draws of captions, each picture once.
    assert sum(seen) <= COUNTS['train']
    _assert_from_detector(model, root)
    states = runner.optim_wrapper.optimizer.state
    for key, value in model.named_parameters():
        assert (value in states) == value.requires_grad, key
        # Offsets learn where attention differs enough between boxes that overlap, and edges where a
        # phrase has more than one: neither is sure here.
        if value.requires_grad and not key.startswith(
            ('head.box_regressor', 'head.graph.edge_proj')
        ):
            assert states[value]['exp_avg'].any(), f'{key} is not trained'
    (checkpoint,) = (tmp_path / 'work').glob('iter_8.pth')
    # Weights and vocabularies come from the checkpoint.
    cfg.model.backbone.init_cfg = cfg.model.region_encoder.init_cfg = None
    cfg.model.text_encoder.vocab_file = cfg.model.head.decoder.vocab_file = None
    loaded = init_model(cfg, str(checkpoint), 'cpu')
    data = _batch(cfg)
    with torch.no_grad():
        expected = model.eval().test_step(data)
        found = loaded.test_step(_batch(cfg))
    for own, other in zip(found, expected, strict=True):
        for key, value in other.pred_phrases.items():
            assert torch.equal(own.pred_phrases[key], value), key
