"""The localisers against the whole forward pass of mmdet's detectors."""

import copy

import pytest
import torch
from small_detectors import (
    build_detector,
    by_hand,
    canvases,
    randomise,
    single_level_fcos,
    single_level_solo,
    small_fcos,
    small_solo,
)

from mmground.models.localisers import FCOSLocaliser, SOLOLocaliser
from mmground.registry import MODELS

ACTIVE = dict(norm_on_bbox=True, centerness_on_reg=True, conv_bias=True)


def _localiser(kind, detector, **settings):
    return randomise(MODELS.build(dict(type=kind, detector=detector, **settings)))


def _detector_like(localiser, cfg):
    detector = build_detector(cfg)
    detector.load_state_dict(localiser.detector.state_dict(), strict=True)
    return detector.eval()


def _pairs(images, points, seed=0):
    """A random selection of 9 (image, point) pairs of shape (3, 3), with repetitions."""
    generator = torch.Generator().manual_seed(seed)
    image_index = torch.tensor([[1], [0], [1]])
    point_index = torch.randint(0, points, (3, 3), generator=generator)
    point_index[2] = point_index[0]
    return image_index, point_index


@pytest.mark.parametrize(
    ('cfg', 'level', 'stride'),
    [
        (small_fcos(), 2, 32),
        (small_fcos(**ACTIVE), 2, 32),
        (small_fcos(), 0, 8),
        (small_fcos(**ACTIVE), 4, 128),
        (single_level_fcos(**ACTIVE), 0, 16),
    ],
)
@torch.no_grad()
def test_boxes_are_those_of_the_whole_detector(cfg, level, stride):
    localiser = _localiser('FCOSLocaliser', cfg, level=level)
    detector = _detector_like(localiser, cfg)
    images, geometries = canvases()
    proposals = localiser(images, geometries)

    _, distances, centernesses = detector(by_hand(images, geometries), mode='tensor')
    side = 128 // stride
    assert proposals.grid == (side, side)
    places = (torch.arange(side) + 0.5) * stride
    expected = torch.zeros(2, side, side, 4)
    for b in range(2):
        for row in range(side):
            for column in range(side):
                x, y = places[column], places[row]
                left, top, right, bottom = distances[level][b, :, row, column]
                box = torch.stack((x - left, y - top, x + right, y + bottom))
                expected[b, row, column] = box.clamp(0, 128)
    torch.testing.assert_close(proposals.boxes, expected.flatten(1, 2), atol=1e-4, rtol=0)
    centerness = centernesses[level].sigmoid().flatten(1)
    torch.testing.assert_close(proposals.centerness, centerness, atol=1e-5, rtol=0)
    assert torch.equal(proposals.points.view(side, side, 2)[0, :, 0], places)
    assert torch.equal(proposals.points.view(side, side, 2)[:, 0, 1], places)
    if side > 1:
        assert expected.flatten(1, 2).std(1).min() > 0.1  # points differ

    image_index, point_index = _pairs(images, side * side)
    chosen = proposals.decode(image_index, point_index)
    assert chosen.shape == (3, 3, 4)
    for i in range(3):
        for j in range(3):
            box = proposals.boxes[image_index[i, 0], point_index[i, j]]
            assert torch.equal(chosen[i, j], box)


@pytest.mark.parametrize(
    ('cfg', 'level'),
    [(small_solo(), level) for level in range(5)] + [(single_level_solo(), 0)],
)
@torch.no_grad()
def test_masks_are_those_of_the_whole_detector(cfg, level):
    localiser = _localiser('SOLOLocaliser', cfg, level=level)
    detector = _detector_like(localiser, cfg)
    images, geometries = canvases()
    proposals = localiser(images, geometries)

    ((masks, _),) = detector(by_hand(images, geometries), mode='tensor')
    side = cfg['mask_head']['num_grids'][level]
    assert proposals.grid == (side, side)
    assert proposals.shape == (32, 32)
    assert masks[level].shape == (2, side**2, 32, 32)
    image_index, point_index = _pairs(images, side**2)
    chosen = proposals.decode(image_index, point_index)
    for i in range(3):
        for j in range(3):
            expected = masks[level][image_index[i, 0], point_index[i, j]]
            torch.testing.assert_close(chosen[i, j], expected, atol=1e-5, rtol=0)
    assert masks[level].std() > 0.05
    centres = (torch.arange(side) + 0.5) * 128 / side
    assert torch.equal(proposals.points.view(side, side, 2)[1, :, 0], centres)
    assert torch.equal(proposals.points.view(side, side, 2)[:, 1, 1], centres)


@torch.no_grad()
def test_an_image_without_a_selected_point():
    localiser = _localiser('SOLOLocaliser', small_solo())
    proposals = localiser(*canvases())
    point = torch.tensor([7, 3])
    second = proposals.decode(torch.tensor([1, 1]), point)
    both = proposals.decode(torch.tensor([0, 1]), point)
    torch.testing.assert_close(second[1], both[1])
    assert proposals.decode(point[:0], point[:0]).shape == (0, 32, 32)


def test_only_what_is_used_is_computed():
    """Forward hooks tell which parts run."""
    for kind, cfg, unused in (
        (
            'FCOSLocaliser',
            small_fcos(),
            ('neck.lateral_convs.0', 'neck.fpn_convs.1', 'neck.fpn_convs.3', 'bbox_head.scales.1'),
        ),
        (
            'SOLOLocaliser',
            small_solo(),
            ('neck.lateral_convs.1', 'neck.fpn_convs.3', 'mask_head.cls_convs.0'),
        ),
    ):
        localiser = _localiser(kind, cfg)
        ran = set()
        for name, module in localiser.detector.named_modules():
            module.register_forward_hook(lambda *_, name=name, ran=ran: ran.add(name))
        localiser(*canvases())
        assert not ran & set(unused), kind
        assert {'backbone.conv1', 'neck.fpn_convs.2'} <= ran
        # The kernels are applied to selected points only.
        assert not any('conv_mask_list' in name for name in ran)
        assert {'FCOSLocaliser': 'bbox_head.scales.2'}.get(kind, 'neck.lateral_convs.2') in ran


def test_a_localiser_stays_as_it_is():
    for kind, cfg in (('FCOSLocaliser', small_fcos()), ('SOLOLocaliser', small_solo())):
        localiser = _localiser(kind, cfg).train()
        assert not any(module.training for module in localiser.modules())
        assert not any(parameter.requires_grad for parameter in localiser.parameters())
        before = copy.deepcopy(localiser.state_dict())
        proposals = localiser(*canvases())
        values = proposals.boxes if kind == 'FCOSLocaliser' else proposals.features
        assert not values.requires_grad
        for name, value in localiser.state_dict().items():
            assert torch.equal(value, before[name]), name


def test_what_is_on_the_padding_does_not_matter():
    localiser = _localiser('FCOSLocaliser', small_fcos())
    images, geometries = canvases()
    painted = images.clone()
    painted[0, :, :32] = 7
    painted[1, :, :, 104:] = 255
    expected = localiser.normalise(images, geometries)
    assert torch.equal(localiser.normalise(painted, geometries), expected)
    torch.testing.assert_close(expected, by_hand(images, geometries))
    # A detector of Caffe's kind takes the channels as they come.
    caffe = dict(small_fcos(), data_preprocessor=dict(mean=[1.0, 2.0, 3.0], std=[1.0] * 3))
    caffe['data_preprocessor']['type'] = 'DetDataPreprocessor'
    own = _localiser('FCOSLocaliser', caffe).normalise(images, geometries)
    assert torch.equal(own[0, 2, 32:96], images[0, 2, 32:96] - 3)


def test_the_config_is_left_as_it_was():
    cfg = small_solo()
    before = copy.deepcopy(cfg)
    SOLOLocaliser(cfg)
    assert cfg == before


@pytest.mark.parametrize(
    ('kind', 'detector', 'settings', 'message'),
    [
        (FCOSLocaliser, small_solo(), {}, 'needs a detector with an FCOSHead, but the SOLO has no'),
        (SOLOLocaliser, small_fcos(), {}, 'with a SOLOHead, but the FCOS has none'),
        (
            SOLOLocaliser,
            small_solo(type='DecoupledSOLOHead'),
            {},
            'with a SOLOHead, but the SOLO has a DecoupledSOLOHead',
        ),
        (FCOSLocaliser, small_fcos(), dict(level=5), r'5 level\(s\), so there is no level 5'),
        (SOLOLocaliser, small_solo(), dict(level=-1), 'no level -1'),
        (FCOSLocaliser, {**small_fcos(), 'data_preprocessor': None}, {}, 'mean and std'),
    ],
)
def test_detectors_of_another_kind(kind, detector, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(detector, **settings)


def test_weights_come_from_a_checkpoint_of_the_detector(tmp_path):
    path = tmp_path / 'fcos.pth'
    localiser = MODELS.build(
        dict(type='FCOSLocaliser', detector=small_fcos(), checkpoint=str(path))
    )
    trained = build_detector(small_fcos(), seed=3)
    own = trained.state_dict()
    # Of a training of the detector, and as the converters write it.
    converted = {f'localisers.box.detector.{name}': value for name, value in own.items()}
    for weights in (own, {**converted, 'head.weight': torch.ones(1)}):
        randomise(localiser, seed=7)
        localiser.has_weights = False
        torch.save(dict(state_dict=weights, meta=dict(iter=10)), path)
        localiser.init_weights()
        assert localiser.has_weights
        for name, value in own.items():
            assert torch.equal(localiser.detector.state_dict()[name], value), name
    for cfg in (small_solo(), small_fcos(num_classes=7)):
        localiser.has_weights = False
        torch.save(build_detector(cfg).state_dict(), path)
        with pytest.raises(ValueError, match='does not fit the FCOS of the config'):
            localiser.init_weights()
        assert not localiser.has_weights


@pytest.mark.parametrize(
    ('kind', 'detector', 'path', 'message'),
    [
        (
            FCOSLocaliser,
            small_fcos(),
            'work_dirs/fcos_r18_shapes/iter_9.pth',
            r'python tools/train\.py \.\.\./fcos_r18_shapes\.py; .*localisers\.box\.checkpoint',
        ),
        (
            SOLOLocaliser,
            small_solo(),
            'data/solo/solo.pth',
            r'convert\.py solo IN data/solo/solo\.pth; .*model\.localisers\.mask\.checkpoint',
        ),
    ],
)
def test_a_missing_checkpoint_names_the_command(kind, detector, path, message):
    with pytest.raises(FileNotFoundError, match=message):
        kind(detector, checkpoint=path).init_weights()


def test_weights_for_the_detectors_own_training_are_not_loaded():
    cfg = small_fcos()
    cfg['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint='absent.pth')
    MODELS.build(dict(type='FCOSLocaliser', detector=cfg)).init_weights()
