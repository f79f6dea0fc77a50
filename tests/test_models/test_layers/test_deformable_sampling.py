import math

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

from mmground.models.layers import deformable_sampling as module
from mmground.models.layers.deformable_sampling import deformable_sampling

SHAPES = [(5, 7), (3, 4), (1, 2)]


def _inputs(batch=2, queries=6, heads=3, width=4, points=2, dtype=torch.float32, shapes=SHAPES):
    """Some locations lie outside, by less and by more than a pixel."""
    torch.manual_seed(0)
    area = sum(height * width for height, width in shapes)
    value = torch.randn(batch, area, heads, width, dtype=dtype)
    grid = (batch, queries, heads, len(shapes), points)
    locations = torch.rand(*grid, 2, dtype=dtype) * 2.4 - 0.7
    return value, locations, torch.randn(grid, dtype=dtype)


def _naive(value, shapes, locations, weights):
    batch, _, heads, width = value.shape
    result = torch.zeros(batch, locations.shape[1], heads, width)
    for image, query, head, level, point in torch.cartesian_prod(
        *[torch.arange(size) for size in weights.shape]
    ).tolist():
        rows, columns = shapes[level]
        start = sum(height * width for height, width in shapes[:level])
        at = locations[image, query, head, level, point].tolist()
        x, y = at[0] * columns - 0.5, at[1] * rows - 0.5
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < rows and 0 <= column < columns:
                    share = (1 - abs(row - y)) * (1 - abs(column - x))
                    pixel = value[image, start + row * columns + column, head]
                    share = share * weights[image, query, head, level, point]
                    result[image, query, head] += share * pixel
    return result.flatten(2)


def test_matches_a_naive_computation():
    value, locations, weights = _inputs()
    result = deformable_sampling(value, SHAPES, locations, weights)
    expected = _naive(value, SHAPES, locations, weights)
    torch.testing.assert_close(result, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize('at_once', [1, 20, 1 << 18])
def test_matches_the_fallback_of_mmcv_with_gradients(monkeypatch, at_once):
    """Whatever number of points goes at once."""
    monkeypatch.setattr(module, '_POINTS_AT_ONCE', at_once)
    monkeypatch.setattr(module, '_QUERIES_AT_ONCE', at_once)
    outputs = []
    for sample in (deformable_sampling, multi_scale_deformable_attn_pytorch):
        value, locations, weights = [tensor.requires_grad_() for tensor in _inputs()]
        result = sample(value, torch.tensor(SHAPES), locations, weights)
        torch.manual_seed(1)
        grads = torch.autograd.grad(result, (value, locations, weights), torch.randn(result.shape))
        outputs.append((result, *grads))
    for ours, theirs in zip(*outputs, strict=True):
        scale = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, atol=1e-6 * max(scale, 1), rtol=0)


def test_gradients_in_double_precision():
    inputs = _inputs(queries=3, heads=2, width=2, dtype=torch.float64)
    value, locations, weights = [tensor.requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(
        lambda *tensors: deformable_sampling(tensors[0], SHAPES, *tensors[1:]),
        (value, locations, weights),
    )


def test_far_locations_find_nothing_and_get_no_gradient():
    value, locations, weights = _inputs()
    # On the coarsest level's single row, 1.5 is a whole pixel outside.
    for far in (1.5, -0.5, 1e30, -1e30, math.inf, -math.inf):
        far = torch.full_like(locations, far).requires_grad_()
        result = deformable_sampling(value, SHAPES, far, weights)
        assert not result.any()
        (grad,) = torch.autograd.grad(result.sum(), far)
        assert not grad.any()


def test_a_location_that_is_no_number_gives_no_number():
    value, locations, weights = _inputs()
    locations[0, 2, 1, 0, 0, 1] = math.nan
    result = deformable_sampling(value, SHAPES, locations, weights)
    spoilt = result.isnan().unflatten(-1, (3, 4))
    assert spoilt[0, 2, 1].all() and spoilt.sum() == 4


def test_no_queries():
    value, locations, weights = _inputs()
    value.requires_grad_()
    result = deformable_sampling(value, SHAPES, locations[:, :0], weights[:, :0])
    assert result.shape == (2, 0, 12)
    result.sum().backward()
    assert not value.grad.any()


def test_levels_that_do_not_fit_are_an_error():
    value, locations, weights = _inputs()
    with pytest.raises(ValueError, match='49 rows'):
        deformable_sampling(value, [(5, 7), (3, 4), (1, 1)], locations, weights)
