import numpy as np
import pytest
import torch

from mmground.structures import Geometry, grid_targets


def naive_resize(mask, shape):
    """Bilinear resize of (h, w) by pixel centres, without antialiasing, in float64."""

    def weights(size, new_size):
        matrix = np.zeros((new_size, size))
        for i in range(new_size):
            source = max((i + 0.5) * size / new_size - 0.5, 0)
            low = min(int(source), size - 1)
            high = min(low + 1, size - 1)
            matrix[i, low] += 1 - (source - low)
            matrix[i, high] += source - low
        return matrix

    return weights(mask.shape[0], shape[0]) @ mask @ weights(mask.shape[1], shape[1]).T


@pytest.mark.parametrize(('stride', 'threshold'), [(4, 0.0), (8, 0.0), (4, 0.5)])
def test_matches_naive_resize(stride, threshold):
    masks = torch.rand(3, 19, 26, generator=torch.Generator().manual_seed(0)) > 0.9
    geometry = Geometry((19, 26), (41, 57), canvas_shape=(64, 96))
    targets = grid_targets(masks, geometry, stride, threshold)
    grid = (64 // stride, 96 // stride)
    assert targets.dtype == torch.bool
    assert targets.shape == (3, *grid)
    for mask, target in zip(masks.double().numpy(), targets, strict=True):
        canvas = np.zeros((64, 96))
        canvas[:41, :57] = naive_resize(mask, (41, 57))
        # Weights that are zero in exact arithmetic may be 1e-16 here.
        expected = naive_resize(canvas, grid) > threshold + 1e-9
        assert 0 < expected.sum() < expected.size
        np.testing.assert_array_equal(target, expected)


def test_a_cell_sees_its_middle_pixels_only():
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 0, 0] = True  # the corner of a cell
    masks[1, 5, 2] = True  # in the middle of cell (1, 0)
    targets = grid_targets(masks, Geometry((8, 8), (8, 8), canvas_shape=(8, 8)))
    assert not targets[0].any()
    assert targets[1].nonzero().tolist() == [[1, 0]]


def test_flip_and_padding():
    masks = torch.zeros(1, 8, 16, dtype=torch.bool)
    masks[..., :4] = True
    geometry = Geometry((8, 16), (8, 16), flip=True, canvas_shape=(16, 32))
    expected = torch.zeros(1, 4, 8, dtype=torch.bool)
    expected[0, :2, 3] = True
    assert torch.equal(grid_targets(masks, geometry), expected)


def test_no_masks():
    geometry = Geometry((5, 6), (10, 12), canvas_shape=(32, 64))
    targets = grid_targets(torch.zeros(0, 5, 6, dtype=torch.bool), geometry)
    assert targets.shape == (0, 8, 16)
    assert targets.dtype == torch.bool


def test_bad_input_is_named():
    masks = torch.zeros(1, 5, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match='canvas size is unknown'):
        grid_targets(masks, Geometry((5, 6), (10, 12)))
    with pytest.raises(ValueError, match='pad_size_divisor'):
        grid_targets(masks, Geometry((5, 6), (10, 12), canvas_shape=(10, 12)))
    with pytest.raises(ValueError, match=r'do not belong to an image of \(6, 5\)'):
        grid_targets(masks, Geometry((6, 5), (12, 10), canvas_shape=(32, 32)))
