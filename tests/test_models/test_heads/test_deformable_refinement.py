import math
import warnings

import pytest
import torch
import torch.nn.functional as F

from mmground.models.heads import DeformableRefinement, MatchingState
from mmground.models.heads.deformable_refinement import slot_encoding
from mmground.models.layers.deformable_attention import flatten_levels
from mmground.structures import Geometry

LAYER = dict(num_heads=2, feedforward_channels=8)
MCA = dict(type='MCA', num_heads=2, ffn_channels=8)


def _part(**changes):
    settings = dict(channels=16, num_points=3, layer=LAYER, aggregation=MCA) | changes
    return DeformableRefinement(**settings)


def _state(logits, image_index, geometries=None):
    num_images = int(image_index.max()) + 1 if len(image_index) else 1
    height, width = logits.shape[-2:]
    shapes = [(height, width)] * 2 + [(height // s, width // s) for s in (2, 4)]
    levels = tuple(torch.randn(num_images, 16, *shape) for shape in shapes)
    return MatchingState(
        queries=torch.randn(len(logits), 16),
        logits=logits,
        pixels=torch.randn(num_images, 16, height, width),
        image_index=image_index,
        slots=torch.arange(len(logits)),
        levels=levels,
        geometries=geometries,
        memory=flatten_levels(levels),
    )


def test_selects_where_an_upsampled_and_downsampled_map_is_highest():
    """As the official code: up by two, down to a quarter of that."""
    logits = torch.randn(4, 8, 12)
    part = _part(num_points=5)
    index = part.select(_state(logits, torch.tensor([0, 0, 1, 1])))
    large = F.interpolate(logits[None], scale_factor=2, mode='bilinear', align_corners=False)
    small = F.interpolate(large, size=(4, 6), mode='bilinear', align_corners=False)[0]
    expected = small.flatten(1).argsort(descending=True)[:, :5]
    assert torch.equal(index.sort().values, expected.sort().values)


def test_selection_can_leave_out_the_padding():
    logits = torch.zeros(2, 8, 8)
    logits[:, :, 4:] = 1.0
    geometries = (
        Geometry((8, 8), (64, 32), canvas_shape=(64, 64)),
        Geometry((8, 8), (64, 64), canvas_shape=(64, 64)),
    )
    state = _state(logits, torch.tensor([0, 1]), geometries)
    left_out = _part(num_points=4, ignore_padding=True).select(state)
    assert (left_out[0] % 4 < 2).all()
    assert (left_out[1] % 4 >= 2).all()
    assert (_part(num_points=4).select(state) % 4 >= 2).all()


def test_more_points_than_pixels_take_them_all_and_warn():
    part = _part(num_points=100)
    state = _state(torch.randn(1, 8, 8), torch.tensor([0]))
    with pytest.warns(UserWarning, match='all 16 pixels of the map, fewer than num_points=100'):
        index = part.select(state)
    assert index.sort().values.tolist() == [list(range(16))]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        _part(num_points=16).select(state)


def test_selection_takes_no_gradient_but_pixels_levels_and_queries_do():
    state = _state(torch.randn(2, 8, 8, requires_grad=True), torch.tensor([0, 0]))
    tensors = [state.queries, *state.levels]
    for tensor in tensors:
        tensor.requires_grad_()
    state.memory = flatten_levels(state.levels)
    _part()(state).square().sum().backward()
    assert state.logits.grad is None
    assert all(tensor.grad.any() for tensor in tensors)


def test_slots_of_the_official_code():
    table = slot_encoding(6, 5)
    for n in range(6):
        for c in range(5):
            angle = c * 10000 ** (-(n - n % 2) / 6)
            expected = math.cos(angle) if n % 2 else math.sin(angle)
            assert table[n, c] == pytest.approx(expected, abs=1e-6)
    assert not torch.allclose(slot_encoding(8, 5)[2], table[2], atol=1e-3)


def test_no_query():
    part = _part().eval()
    state = _state(torch.randn(0, 8, 8), torch.zeros(0, dtype=torch.int64))
    assert part(state).shape == (0, 16)


def test_the_slot_table_is_no_part_of_a_checkpoint():
    assert not any('slot' in name for name in _part().state_dict())
    assert _part().max_queries == 64
    assert _part(position='pixel', max_seg_num=None).max_queries is None


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(position='token'), 'position must be'),
        (dict(num_points=0), 'num_points must be at least 1'),
        (dict(max_seg_num=7), 'even number of slots, got 7'),
        (dict(max_seg_num=None), 'even number of slots, got None'),
    ],
)
def test_settings_that_do_not_exist(changes, message):
    with pytest.raises(ValueError, match=message):
        _part(**changes)
