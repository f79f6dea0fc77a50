import numpy as np
import pytest
import torch

from mmground.evaluation.functional import mask_iou, mask_overlap, pairwise_mask_iou, soft_mask_iou


def test_equals_counting_pixels():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(4, 6, 5, generator=generator) > 0.5
    targets = torch.rand(4, 6, 5, generator=generator) > 0.3
    expected = [
        len(a & b) / len(a | b)
        for a, b in (
            ({*map(tuple, mask.nonzero().tolist())}, {*map(tuple, target.nonzero().tolist())})
            for mask, target in zip(masks, targets, strict=True)
        )
    ]
    ious = mask_iou(masks, targets)
    assert ious.dtype == torch.float64
    np.testing.assert_allclose(ious, expected, rtol=0, atol=1e-15)
    intersections, unions = mask_overlap(masks, targets)
    assert torch.equal(intersections, (masks * targets).sum((1, 2)))
    assert torch.equal(unions, masks.sum((1, 2)) + targets.sum((1, 2)) - intersections)


def test_empty_masks():
    full, empty = torch.ones(1, 3, 4, dtype=torch.bool), torch.zeros(1, 3, 4, dtype=torch.bool)
    masks, targets = torch.cat((empty, full, empty, full)), torch.cat((empty, empty, full, full))
    ious = mask_iou(masks, targets)
    assert ious[0].isnan()
    assert ious[1:].tolist() == [0, 0, 1]


def test_no_masks():
    masks = torch.zeros(0, 3, 4, dtype=torch.bool)
    assert mask_iou(masks, masks).shape == (0,)


def test_bad_input():
    masks = torch.zeros(2, 3, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match='differ in shape'):
        mask_iou(masks, masks[:1])
    with pytest.raises(TypeError, match='must be boolean'):
        mask_iou(masks.float(), masks)


def test_pairs_equal_single_ious():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(5, 30, 20, generator=generator) > 0.5
    targets = torch.rand(3, 30, 20, generator=generator) > 0.3
    masks[1] = targets[2] = False
    ious = pairwise_mask_iou(masks, targets)
    assert ious.shape == (5, 3)
    for i in range(5):
        expected = mask_iou(masks[i : i + 1].expand(3, -1, -1), targets)
        torch.testing.assert_close(ious[i], expected, rtol=0, atol=1e-15, equal_nan=True)
    assert pairwise_mask_iou(masks[:0], targets).shape == (0, 3)
    with pytest.raises(ValueError, match='differ in size'):
        pairwise_mask_iou(masks, targets[:, 1:])
    with pytest.raises(TypeError, match='must be boolean'):
        pairwise_mask_iou(masks.float(), targets)


def test_soft_masks_by_hand():
    masks = torch.tensor([[[0.5, 1.0]], [[0.0, 0.0]], [[0.0, 0.0]]])
    targets = torch.tensor([[[0.5, 0.25]], [[0.0, 0.5]], [[0.0, 0.0]]])
    ious = soft_mask_iou(masks, targets)
    assert ious.dtype == torch.float64
    assert ious[0].item() == pytest.approx((0.25 + 0.25) / (0.75 + 1.0))
    assert ious[1] == 0
    assert ious[2].isnan()
    with pytest.raises(ValueError, match='differ in shape'):
        soft_mask_iou(masks, targets[:1])


def test_soft_iou_of_boolean_masks_is_the_iou():
    generator = torch.Generator().manual_seed(0)
    masks, targets = torch.rand(2, 4, 6, 5, generator=generator) > 0.5
    assert torch.equal(soft_mask_iou(masks, targets), mask_iou(masks, targets))
