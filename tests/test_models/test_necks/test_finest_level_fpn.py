import pytest
import torch
from mmdet.models.necks import FPN

from mmground.models.layers.pyramid import pyramid_level
from mmground.models.necks import FinestLevelFPN


def _maps():
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 4, 25, 19), (2, 6, 13, 10), (2, 8, 7, 5))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def _settings(**more):
    return dict(in_channels=[4, 6, 8], out_channels=5, **more)


def test_is_the_finest_level_of_an_fpn():
    neck = FinestLevelFPN(**_settings())
    neck.init_weights()
    whole = FPN(**_settings(num_outs=3))
    whole.load_state_dict(neck.state_dict(), strict=False)
    (level,) = neck(_maps())
    torch.testing.assert_close(level, whole(_maps())[0])
    level.sum().backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.parametrize(
    'settings',
    [
        dict(num_outs=3),
        dict(num_outs=5),
        dict(num_outs=5, start_level=1, add_extra_convs='on_output', relu_before_extra_convs=True),
        dict(num_outs=3, upsample_cfg=dict(mode='bilinear', align_corners=False)),
        dict(num_outs=3, norm_cfg=dict(type='GN', num_groups=5), act_cfg=dict(type='ReLU')),
        dict(num_outs=1, end_level=0),
    ],
)
def test_a_level_of_an_fpn(settings):
    neck = FPN(**_settings(**settings))
    neck.init_weights()
    expected = neck(_maps())
    for level, own in enumerate(expected):
        torch.testing.assert_close(pyramid_level(neck, _maps(), level), own)
    assert torch.equal(pyramid_level(None, _maps(), 1), _maps()[1])
