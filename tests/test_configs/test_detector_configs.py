"""The detectors of Grounding Shapes, and how PBREC gets them."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from small_detectors import canvases
from small_ppmn import write_vocabulary

from mmground.datasets.grounding_shapes.categories import ATTRIBUTES
from mmground.datasets.grounding_shapes.lexicon import THINGS
from mmground.engine import FrozenWeightsHook
from mmground.registry import MODELS

KINDS = dict(fcos='box', solo='mask')
SIZE = 64


@pytest.fixture(scope='module')
def folder(config_dir):
    return config_dir / 'pbrec'


def _draw(root, split):
    """Write four pictures of a split, of two things each, and their annotations."""
    (root / f'images/{split}2017').mkdir(parents=True)
    (root / 'annotations').mkdir(exist_ok=True)
    images, annotations = [], []
    for index in range(1, 5):
        name = f'{index:012d}.jpg'
        picture = np.full((SIZE, SIZE, 3), 90, np.uint8)
        for place, (x, y) in enumerate(((4 + index, 6), (34, 30 + index))):
            picture[y : y + 20, x : x + 24] = 40 * index, 255 - 60 * place, 30
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=index,
                    category_id=place + 1,
                    bbox=[x, y, 24, 20],
                    area=480,
                    iscrowd=0,
                    attribute_ids=[1 + len(annotations) % len(ATTRIBUTES)],
                    segmentation=[[x, y, x + 24, y, x + 24, y + 20, x, y + 20]],
                )
            )
        cv2.imwrite(str(root / f'images/{split}2017/{name}'), picture)
        images.append(dict(id=index, file_name=name, height=SIZE, width=SIZE))
    categories = [dict(id=number, name=name) for number, name in enumerate(THINGS, 1)]
    (root / f'annotations/instances_{split}2017.json').write_text(
        json.dumps(
            dict(
                images=images,
                annotations=annotations,
                categories=categories,
                attributes=ATTRIBUTES,
            )
        )
    )


@pytest.fixture(scope='module')
def coco_root(tmp_path_factory):
    """Pictures of rectangles with COCO annotations of them."""
    root = tmp_path_factory.mktemp('coco')
    for split in ('train', 'val'):
        _draw(root, split)
    return root


def _shrink(cfg, root, work_dir):
    """Two iterations of the same classes, with small widths."""
    cfg.model.backbone.base_channels = 8
    if cfg.model.type == 'FasterRCNN':
        cfg.model.rpn_head.update(in_channels=32, feat_channels=32)
        cfg.model.roi_head.shared_head.base_channels = 8
        cfg.model.roi_head.bbox_roi_extractor.out_channels = 32
        cfg.model.roi_head.bbox_head.in_channels = 64
    elif cfg.model.type == 'FCOS':
        cfg.model.bbox_head.update(in_channels=32, feat_channels=32)
    else:
        cfg.model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
        cfg.model.mask_head.update(in_channels=16, feat_channels=16)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(root)
    cfg.val_evaluator.ann_file = f'{root}/annotations/instances_val2017.json'
    for key in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        cfg.pop(key)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.param_scheduler.total_steps = 2
    cfg.default_hooks.checkpoint.interval = 2
    cfg.visualizer.pop('name')
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'{cfg.model.type}-{work_dir.name}'
    return cfg


@pytest.mark.parametrize('kind', KINDS)
def test_a_detector_trains_and_its_checkpoint_starts_a_localiser(folder, coco_root, tmp_path, kind):
    cfg = _shrink(Config.fromfile(folder / f'{kind}_r18_shapes.py'), coco_root, tmp_path)
    runner = Runner.from_cfg(cfg)
    before = {name: value.clone() for name, value in runner.model.named_parameters()}
    runner.train()
    states = runner.optim_wrapper.optimizer.state
    for name, value in runner.model.named_parameters():
        assert states[value]['exp_avg'].any(), f'{name} has no gradient'
        assert not torch.equal(value, before[name]), f'{name} is not trained'
    (metric,) = runner.val_loop.evaluator.metrics
    assert metric.metrics == dict(fcos=['bbox'], solo=['segm'])[kind]
    pbrec = Config.fromfile(folder / 'pbrec-mt_r18_shapes.py').model.localisers[KINDS[kind]]
    settings = dict(pbrec, detector=cfg.model, checkpoint=str(tmp_path / 'iter_2.pth'))
    localiser = MODELS.build(settings)
    localiser.init_weights()
    trained = runner.model.state_dict()
    for name, value in localiser.detector.state_dict().items():
        assert torch.equal(value, trained[name]), name
    assert localiser(*canvases()).grid == dict(fcos=(8, 8), solo=(12, 12))[kind]


def test_classes_are_those_of_the_data(folder):
    for kind in KINDS:
        cfg = Config.fromfile(folder / f'{kind}_r18_shapes.py')
        assert set(cfg.train_dataloader.dataset.metainfo.classes) == set(THINGS)
        head = cfg.model.get('bbox_head') or cfg.model.mask_head
        assert head.num_classes == len(THINGS)
        assert 'train2017' in cfg.train_dataloader.dataset.ann_file
        assert 'train2017' in cfg.train_dataloader.dataset.data_prefix.img


def test_points_are_the_same_in_both_stages(folder, tmp_path):
    cfg = Config.fromfile(folder / 'pbrec-mt_r18_shapes.py')
    cfg.model.text_encoder.vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    model = MODELS.build(cfg.model).eval()
    size = cfg.image_size
    with torch.no_grad():
        (feature,) = model.backbone(torch.zeros(1, 3, size, size))
    assert feature.shape[-2:] == (12, 12)
    images = torch.zeros(1, 3, size, size)
    for part in model.localisers.values():
        assert part.propose(images).grid == (12, 12)
    for kind, name in KINDS.items():
        detector = Config.fromfile(folder / f'{kind}_r18_shapes.py').model
        assert cfg.model.localisers[name].detector == detector
        # What tools/train.py writes by default.
        iters = Config.fromfile(folder / f'{kind}_r18_shapes.py').train_cfg.max_iters
        expected = f'work_dirs/{kind}_r18_shapes/iter_{iters}.pth'
        assert cfg.model.localisers[name].checkpoint == expected


def test_missing_detectors_name_the_command(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(folder / 'pbrec-mt_r18_shapes.py').model
    cfg.backbone.init_cfg = None
    model = MODELS.build(cfg)
    with pytest.raises(FileNotFoundError, match=r'tools/train\.py \.\.\./fcos_r18_shapes\.py'):
        model.init_weights()


def test_the_backbone_starts_from_fcos(folder, tmp_path):
    cfg = Config.fromfile(folder / 'pbrec-mt_r18_shapes.py').model
    model = MODELS.build(cfg)
    paths = {}
    for name, part in model.localisers.items():
        for value in part.detector.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.5, 1.5)
        paths[name] = str(tmp_path / f'{name}.pth')
        torch.save(dict(state_dict=part.detector.state_dict()), paths[name])
        cfg.localisers[name].checkpoint = paths[name]
    cfg.backbone.init_cfg.checkpoint = paths['box']
    started = MODELS.build(cfg)
    started.init_weights()
    expected = model.localisers.box.detector.backbone.state_dict()
    for name, value in started.backbone.state_dict().items():
        assert torch.equal(value, expected[name]), name
    FrozenWeightsHook().before_train(SimpleNamespace(model=started, _load_from=None))


def test_the_detector_of_reir_trains(config_dir, coco_root, tmp_path):
    cfg = Config.fromfile(config_dir / 'reir/faster-rcnn_r18_shapes.py')
    assert set(cfg.train_dataloader.dataset.metainfo.classes) == set(THINGS)
    assert cfg.model.roi_head.bbox_head.num_classes == len(THINGS)
    names = [attribute['name'] for attribute in ATTRIBUTES]
    assert list(cfg.train_dataloader.dataset.metainfo.attributes) == names
    assert cfg.model.roi_head.num_attributes == len(names)
    runner = Runner.from_cfg(_shrink(cfg, coco_root, tmp_path))
    before = {name: value.clone() for name, value in runner.model.named_parameters()}
    runner.train()
    states = runner.optim_wrapper.optimizer.state
    for name, value in runner.model.named_parameters():
        assert states[value]['exp_avg'].any(), f'{name} has no gradient'
        assert not torch.equal(value, before[name]), f'{name} is not trained'
    meta = torch.load(tmp_path / 'iter_2.pth', weights_only=False)['meta']
    assert set(meta['dataset_meta']['classes']) == set(THINGS)


def test_backbone_and_last_stage_are_a_resnet(config_dir):
    """So that both together can describe regions, with one checkpoint for both."""
    cfg = Config.fromfile(config_dir / 'reir/faster-rcnn_r18_shapes.py').model
    detector = MODELS.build(cfg)
    whole = dict(cfg.backbone, num_stages=4, strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1))
    whole['out_indices'] = (3,)
    with DefaultScope.overwrite_default_scope('mmdet'):
        resnet = MODELS.build(whole)
    weights = detector.backbone.state_dict() | detector.roi_head.shared_head.state_dict()
    resnet.load_state_dict(weights)
    resnet.eval()
    detector.eval()
    images = torch.rand(1, 3, 112, 112)
    with torch.no_grad():
        (expected,) = resnet(images)
        (feats,) = detector.backbone(images)
        torch.testing.assert_close(detector.roi_head.shared_head(feats), expected)
    assert detector.roi_head.shared_head.out_channels == cfg.roi_head.bbox_head.in_channels
