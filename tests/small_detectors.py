"""mmdet detectors of a few thousand parameters, and canvases that they can eat."""

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmground.datasets.grounding_shapes.lexicon import THINGS
from mmground.registry import MODELS
from mmground.structures import Geometry

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
_NORM = dict(type='GN', num_groups=4)
_BACKBONE = dict(type='ResNet', depth=18, base_channels=8, out_indices=(0, 1, 2, 3))


def small_fcos(**head):
    """Config of an FCOS with five levels; keyword arguments are of its head."""
    settings = dict(
        type='FCOSHead',
        num_classes=5,
        in_channels=16,
        feat_channels=16,
        stacked_convs=2,
        strides=[8, 16, 32, 64, 128],
        norm_cfg=_NORM,
    )
    return dict(
        type='FCOS',
        data_preprocessor=dict(type='DetDataPreprocessor', mean=MEAN, std=STD, bgr_to_rgb=True),
        backbone=dict(_BACKBONE),
        neck=dict(
            type='FPN',
            in_channels=[8, 16, 32, 64],
            out_channels=16,
            start_level=1,
            add_extra_convs='on_output',
            num_outs=5,
            relu_before_extra_convs=True,
        ),
        bbox_head={**settings, **head},
    )


def single_level_fcos(**head):
    """Config of an FCOS whose only level is the backbone's map of stride 16."""
    cfg = small_fcos(in_channels=32, strides=[16], regress_ranges=((-1, 1e8),), **head)
    cfg['backbone'].update(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,))
    cfg['neck'] = None
    return cfg


def small_solo(**head):
    """Config of a SOLO with five levels; keyword arguments are of its head."""
    settings = dict(
        type='SOLOHead',
        num_classes=5,
        in_channels=16,
        feat_channels=16,
        stacked_convs=2,
        strides=[8, 8, 16, 32, 32],
        scale_ranges=((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)),
        num_grids=[10, 9, 6, 4, 3],
        norm_cfg=_NORM,
    )
    return dict(
        type='SOLO',
        data_preprocessor=dict(type='DetDataPreprocessor', mean=MEAN, std=STD, bgr_to_rgb=True),
        backbone=dict(_BACKBONE),
        neck=dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=16, num_outs=5),
        mask_head={**settings, **head},
    )


def single_level_solo(**head):
    """Config of a SOLO whose only level is the finest of its pyramid."""
    one = dict(strides=[8], scale_ranges=((1, 2048),), num_grids=[6])
    cfg = small_solo(**one, **head)
    cfg['neck'] = dict(type='mmground.FinestLevelFPN', in_channels=[8, 16, 32, 64], out_channels=16)
    return cfg


def small_faster_rcnn(config_dir):
    """The config, as a whole, of the Faster R-CNN of Grounding Shapes with few channels."""
    cfg = Config.fromfile(config_dir / 'reir/faster-rcnn_r18_shapes.py')
    cfg.model.backbone.base_channels = 8
    cfg.model.rpn_head.update(in_channels=32, feat_channels=32)
    cfg.model.roi_head.shared_head.base_channels = 8
    cfg.model.roi_head.bbox_roi_extractor.out_channels = 32
    cfg.model.roi_head.bbox_head.in_channels = 64
    for transform in cfg.test_dataloader.dataset.pipeline:
        if transform.type == 'mmdet.Resize':
            transform.scale = (96, 96)
    return cfg


def write_detector(folder, cfg, classes=tuple(THINGS)):
    """Files of config and checkpoint of a detector whose scores differ from box to box."""
    paths = str(folder / 'detector.py'), str(folder / 'detector.pth')
    cfg.dump(paths[0])
    meta = dict(dataset_meta=dict(classes=classes)) if classes else {}
    torch.save(dict(state_dict=build_detector(cfg.model).state_dict(), meta=meta), paths[1])
    return paths


def build_detector(cfg, seed=0):
    """A detector with weights at which its outputs differ from point to point."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(dict(cfg, _scope_='mmdet'))
    return randomise(detector, seed)


def randomise(model, seed=0):
    """Give all weights, and the statistics of normalisations, other values than at the start."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if not value.is_floating_point() or not value.ndim:
            continue
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith('running_var'):
            value.copy_(noise.abs() + 0.5)
        elif value.ndim > 1:
            value.copy_(noise / value[0].numel() ** 0.5)
        else:
            value.add_(0.1 * noise)
    return model.eval()


def canvases():
    """Two images (BGR, 0 to 255) on canvases of 128 x 128 pixels, and their geometries."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (2, 3, 128, 128), generator=generator).float()
    geometries = [
        Geometry((96, 192), (64, 128), offset=(32, 0), canvas_shape=(128, 128)),
        Geometry((160, 100), (128, 80), offset=(0, 24), flip=True, canvas_shape=(128, 128)),
    ]
    return images, geometries


def by_hand(images, geometries):
    """What the detectors above take, computed image by image."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    expected = torch.zeros_like(images)
    for own, image, geometry in zip(expected, images, geometries, strict=True):
        rows, columns = geometry.image_area
        own[:, rows, columns] = ((image[[2, 1, 0]] - mean) / std)[:, rows, columns]
    return expected
