import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from mmground.structures import decode_mask, decode_masks, encode_masks, mask_area


def random_masks():
    rng = np.random.default_rng(0)
    masks = rng.random((6, 37, 53)) > 0.5
    masks[1] = False
    masks[2] = True
    masks[3] = False
    masks[3, 5:30, 7:50] = True  # long runs: numbers of several groups
    masks[4] = rng.random((37, 53)) > 0.99
    return masks


@pytest.mark.parametrize('kind', [np.asarray, torch.from_numpy])
def test_round_trip(kind):
    masks = random_masks()
    codes = json.loads(json.dumps(encode_masks(kind(masks))))
    np.testing.assert_array_equal(decode_masks(codes, (37, 53)), masks)
    assert codes[0]['size'] == [37, 53]
    for code, mask in zip(codes, masks, strict=True):
        np.testing.assert_array_equal(coco_mask.decode(code), mask)


def test_no_mask():
    assert encode_masks(np.zeros((0, 4, 5), bool)) == []
    assert decode_masks([], (4, 5)).shape == (0, 4, 5)


def test_large_masks():
    """Numbers that need four groups of five bits."""
    mask = np.zeros((1, 1200, 1300), bool)
    mask[0, :, 600:] = True
    (code,) = encode_masks(mask)
    np.testing.assert_array_equal(decode_mask(code, (1200, 1300)), mask[0])


def test_list_of_counts_runs_down_the_columns():
    mask = decode_mask(dict(size=[3, 2], counts=[1, 3, 2]), (3, 2))
    np.testing.assert_array_equal(mask, [[False, True], [True, False], [True, False]])


def test_polygons_are_united():
    polygons = [[1, 1, 3, 1, 3, 4, 1, 4], [4, 0, 6, 0, 6, 2, 4, 2]]
    expected = np.zeros((5, 7), bool)
    expected[1:4, 1:3] = True
    expected[0:2, 4:6] = True
    np.testing.assert_array_equal(decode_mask(polygons, (5, 7)), expected)


@pytest.mark.parametrize(
    ('code', 'message'),
    [
        (dict(size=[4, 5]), "has 'size' and 'counts'"),
        (dict(size=[5, 4], counts=[20]), r'of size \(5, 4\) .* of \(4, 5\)'),
        (dict(size=[4, 5], counts=[10, 5]), 'do not add up to the 20 pixels'),
        (dict(size=[4, 5], counts=[10, 15, -5]), 'do not add up'),
        (dict(size=[4, 5], counts=[20.0]), 'do not add up'),
        (dict(size=[4, 5], counts=[]), 'do not add up'),
        (dict(size=[4, 5], counts='0' * 9), 'do not add up'),
        (dict(size=[4, 5], counts=''), 'no run-length code'),
        (dict(size=[4, 5], counts='abc '), 'no run-length code'),
        (dict(size=[4, 5], counts='é日'), 'no run-length code'),
        (dict(size=[4, 5], counts='o' * 40 + '0'), 'no run-length code'),
        ([], 'list of polygons is empty'),
        ([[1, 1, 2, 2]], 'at least three points'),
        ([[1, 1, 2, 2, 3]], 'at least three points'),
        ([[1, 1, 2, 2, 3, 'x']], 'at least three points'),
        ([[1, 1, 2, 2, 3, float('nan')]], 'at least three points'),
        ([1, 1, 2, 2, 3, 3], 'at least three points'),
        ('mask.png', 'got a str'),
        (None, 'got a NoneType'),
    ],
)
def test_damaged_codes(code, message):
    with pytest.raises(ValueError, match=message):
        decode_mask(code, (4, 5))


def test_only_boolean_masks_are_encoded():
    with pytest.raises(ValueError, match=r'boolean \(N, H, W\)'):
        encode_masks(np.zeros((1, 4, 5), np.uint8))


def test_a_list_of_codes_is_their_union():
    masks = np.zeros((2, 7, 9), dtype=bool)
    masks[0, 1:4, 2:6] = masks[1, 3:6, 4:9] = True
    codes = encode_masks(masks)
    np.testing.assert_array_equal(decode_mask(codes, (7, 9)), masks.any(0))
    assert mask_area(codes, (7, 9)) == masks.any(0).sum()
    with pytest.raises(ValueError, match='is of size'):
        decode_mask([*codes, {**codes[0], 'size': [9, 7]}], (7, 9))


def test_areas():
    rng = np.random.default_rng(0)
    for _ in range(10):
        polygons = (rng.random((2, 8)) * 30 - 5).tolist()
        assert mask_area(polygons, (20, 25)) == decode_mask(polygons, (20, 25)).sum()
    code = dict(size=[2, 3], counts=[2, 3, 1])
    assert mask_area(code, (2, 3)) == 3
    assert mask_area([[50.0, 50, 60, 50, 60, 60]], (20, 25)) == 0
    for wrong in ([], 'x', [[1, 2]]):
        with pytest.raises(ValueError):
            mask_area(wrong, (2, 3))
