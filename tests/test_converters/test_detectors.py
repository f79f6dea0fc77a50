"""FCOS and SOLO in the layouts of their official repositories and of mmdet."""

import re

import pytest
import torch
from mmengine.config import Config
from small_detectors import build_detector, canvases, randomise, small_fcos, small_solo
from small_ppmn import small_ppmn, write_vocabulary

from mmground.converters import (
    convert_checkpoint,
    convert_fcos,
    convert_solo,
    merge_parts,
    save_converted,
)
from mmground.registry import MODELS

OFFICIAL_FCOS = dict(stacked_convs=4, norm_on_bbox=True, centerness_on_reg=True, conv_bias=True)


def _bottlenecks(cfg):
    """With blocks of three convolutions, as a ResNet-101 has."""
    cfg['backbone'].update(depth=50, base_channels=4, style='caffe')
    cfg['neck']['in_channels'] = [16, 32, 64, 128]
    return cfg


def _model(tmp_path=None):
    """Config of a PBREC with small detectors."""
    cfg = small_ppmn(str(tmp_path / 'vocab.txt') if tmp_path else None)
    cfg.pop('neck')
    cfg['head'] = dict(
        type='PointGroundingHead',
        in_channels=64,
        text_channels=24,
        channels=16,
        fusion=dict(
            type='VisionLanguageEncoder', num_layers=1, num_heads=2, feedforward_channels=16
        ),
    )
    cfg['localisers'] = dict(
        box=dict(type='FCOSLocaliser', detector=_bottlenecks(small_fcos(**OFFICIAL_FCOS))),
        mask=dict(type='SOLOLocaliser', detector=_bottlenecks(small_solo(stacked_convs=7))),
    )
    return cfg


def official_fcos(weights):
    """Names and shapes as in a file of tianzhi0549/FCOS, from those of mmdet."""
    published = {}
    for name, value in weights.items():
        parts = name.split('.')
        if parts[-1] == 'num_batches_tracked':
            continue
        if parts[0] == 'backbone':
            stem = ['stem'] if parts[1] in ('conv1', 'bn1') else []
            parts = ['backbone', 'body', *stem, *parts[1:]]
        elif parts[1] == 'lateral_convs':
            parts = ['backbone', 'fpn', f'fpn_inner{int(parts[2]) + 2}', parts[-1]]
        elif parts[1] == 'fpn_convs':
            level = int(parts[2])
            own = [f'fpn_layer{level + 2}'] if level < 3 else ['top_blocks', f'p{level + 3}']
            parts = ['backbone', 'fpn', *own, parts[-1]]
        elif parts[1] in ('cls_convs', 'reg_convs'):
            tower = {'cls_convs': 'cls_tower', 'reg_convs': 'bbox_tower'}[parts[1]]
            index = 3 * int(parts[2]) + (parts[3] == 'gn')
            parts = ['rpn', 'head', tower, str(index), parts[-1]]
        elif parts[1] == 'scales':
            parts, value = ['rpn', 'head', *parts[1:]], value.reshape(1)
        else:
            own = dict(conv_cls='cls_logits', conv_reg='bbox_pred', conv_centerness='centerness')
            parts = ['rpn', 'head', own[parts[1]], parts[-1]]
        published['.'.join(parts)] = value
    return published


def official_solo(weights):
    """Names as in a file of WXinlong/SOLO, from those of mmdet."""
    own = dict(
        mask_convs='ins_convs',
        cls_convs='cate_convs',
        conv_mask_list='solo_ins_list',
        conv_cls='solo_cate',
    )
    published = {}
    for name, value in weights.items():
        parts = name.split('.')
        if parts[0] == 'mask_head':
            parts[:2] = ['bbox_head', own[parts[1]]]
        published['.'.join(parts)] = value
    return published


def _write(kind, layout, path):
    """Write a published file; returns the detector that it is of."""
    if kind == 'fcos':
        detector = build_detector(_bottlenecks(small_fcos(**OFFICIAL_FCOS)), seed=4)
    else:
        detector = build_detector(_bottlenecks(small_solo(stacked_convs=7)), seed=4)
    weights = detector.state_dict()
    if layout == 'mmdet':
        file = dict(state_dict=weights, meta=dict(mmdet_version='2.28.2', epoch=12))
    elif layout == 'early mmdet':
        pattern = r'^bbox_head\.conv_(cls|reg|centerness)\.'
        file = dict(
            state_dict={re.sub(pattern, r'bbox_head.fcos_\1.', n): w for n, w in weights.items()}
        )
    elif kind == 'fcos':
        published = official_fcos(weights)
        file = dict(model={f'module.{n}': w for n, w in published.items()}, iteration=180000)
    else:
        file = dict(state_dict=official_solo(weights), meta=dict(epoch=36, config='model = 0'))
    torch.save(file, path)
    return detector


@pytest.mark.parametrize(
    ('kind', 'layout'),
    [
        ('fcos', 'official'),
        ('fcos', 'mmdet'),
        ('fcos', 'early mmdet'),
        ('solo', 'official'),
        ('solo', 'mmdet'),
    ],
)
def test_a_published_detector_proposes_the_same(tmp_path, kind, layout):
    path = tmp_path / f'{kind}.pth'
    detector = _write(kind, layout, path)
    cfg = _model()
    converted = convert_checkpoint(kind, str(path), cfg)
    assert converted['meta']['num_dropped'] == 0
    name = dict(fcos='box', solo='mask')[kind]
    settings = dict(cfg['localisers'][name], checkpoint=str(tmp_path / 'converted.pth'))
    save_converted(converted, settings['checkpoint'])
    localiser = randomise(MODELS.build(settings), seed=9)
    localiser.init_weights()
    for key, value in detector.state_dict().items():
        if not key.endswith('num_batches_tracked'):
            assert torch.equal(localiser.detector.state_dict()[key], value), key
    own = MODELS.build(cfg['localisers'][name])
    own.detector.load_state_dict(detector.state_dict())
    images, geometries = canvases()
    index = torch.tensor([0, 1]), torch.tensor([5, 7])
    assert torch.equal(
        localiser(images, geometries).decode(*index), own(images, geometries).decode(*index)
    )


@pytest.mark.parametrize(('kind', 'name'), [('fcos', 'box'), ('solo', 'mask')])
def test_names_at_full_size(config_dir, kind, name):
    cfg = Config.fromfile(config_dir / '_base_/models/pbrec-localised_r101.py').model
    with torch.device('meta'):
        weights = MODELS.build(cfg.localisers[name]).detector.state_dict()
    convert, official = dict(
        fcos=(convert_fcos, official_fcos), solo=(convert_solo, official_solo)
    )[kind]
    converted, unused = convert(official(weights))
    assert unused == []
    expected = {f'localisers.{name}.detector.{key}': value for key, value in weights.items()}
    assert {key: value.shape for key, value in converted.items()} == {
        key: value.shape for key, value in expected.items()
    }
    # ResNet-101: 1 + 33 x 3 + 4 convolutions, each with a normalisation.
    assert (
        sum(
            re.search(r'backbone.*(conv\d|downsample\.0)\.weight', n) is not None for n in converted
        )
        == 104
    )


def test_a_detector_of_another_class_is_an_error(tmp_path):
    path = str(tmp_path / 'detector.pth')
    cfg = _model()
    for kind, other, message in (
        ('fcos', 'solo', r'is not an FCOS .*: mask_head\.'),
        ('solo', 'fcos', r'is not a SOLO .*another layout.*: bbox_head\.'),
    ):
        _write(other, 'mmdet', path)
        with pytest.raises(ValueError, match=message):
            convert_checkpoint(kind, path, cfg)
    weights = build_detector(_bottlenecks(small_fcos(**OFFICIAL_FCOS))).state_dict()
    anchors = {n: w for n, w in weights.items() if 'centerness' not in n}
    torch.save(dict(state_dict=anchors), path)
    with pytest.raises(ValueError, match='no centerness, so it is another detector'):
        convert_checkpoint('fcos', path, cfg)
    decoupled = build_detector(_bottlenecks(small_solo(type='DecoupledSOLOHead'))).state_dict()
    torch.save(dict(state_dict=decoupled), path)
    with pytest.raises(ValueError, match='no kernel for each cell'):
        convert_checkpoint('solo', path, cfg)
    for content in (dict(epoch=1), dict(model=3), []):
        torch.save(content, path)
        with pytest.raises(ValueError, match=r'holds no (weights|dict)'):
            convert_checkpoint('fcos', path, cfg)
    # Without biases, as most of mmdet's.
    torch.save(build_detector(_bottlenecks(small_fcos(stacked_convs=4))).state_dict(), path)
    with pytest.raises(ValueError, match=r'missing: .*box\.detector\.bbox_head\.cls_convs\.0'):
        convert_checkpoint('fcos', path, cfg)


def test_detectors_join_a_converted_checkpoint(tmp_path):
    paths = {kind: str(tmp_path / f'{kind}.pth') for kind in ('fcos', 'solo')}
    cfg = _model(tmp_path)
    write_vocabulary(tmp_path / 'vocab.txt')
    whole = MODELS.build(cfg)
    stage = {n: w for n, w in whole.state_dict().items() if not n.startswith('localisers.')}
    parts = {'stage.pth': dict(state_dict=stage)}
    for kind, path in paths.items():
        _write(kind, 'official', path)
        parts[path] = convert_checkpoint(kind, path, cfg)
    merged = merge_parts(parts.items())
    whole.load_state_dict(merged['state_dict'], strict=True)
    assert [own['file'] for own in merged['meta']['merged']] == [
        'stage.pth',
        'fcos.pth',
        'solo.pth',
    ]
