import numpy as np
import pytest
import torch

from mmground.evaluation.functional import box_area, box_iou


def naive(a, b):
    """On intervals, one axis after the other."""
    shared = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    intersection = shared[0] * shared[1]
    return intersection / (sum(areas) - intersection)


def random_boxes(n, seed):
    corners = torch.rand(n, 2, 2, generator=torch.Generator().manual_seed(seed)) * 50
    return corners.sort(dim=1).values.flatten(1)


def test_equals_a_loop():
    boxes, targets = random_boxes(200, 0), random_boxes(200, 1)
    ious = box_iou(boxes, targets)
    expected = [naive(a, b) for a, b in zip(boxes.tolist(), targets.tolist(), strict=True)]
    assert ious.dtype == torch.float64
    assert 0.2 < (ious > 0).double().mean() < 1
    np.testing.assert_allclose(ious, expected, rtol=0, atol=1e-14)


def test_all_pairs_by_broadcasting():
    boxes, targets = random_boxes(5, 0), random_boxes(7, 1)
    ious = box_iou(boxes[:, None], targets)
    assert ious.shape == (5, 7)
    assert ious[3, 6] == box_iou(boxes[3:4], targets[6:])[0]


def test_exactly_a_half():
    target = torch.tensor([[10.25, 0.0, 20.25, 7.0]])
    assert box_iou(torch.tensor([[10.25, 0.0, 15.25, 7.0]]), target).tolist() == [0.5]


def test_empty_boxes():
    empty, other = torch.tensor([[3.0, 3, 3, 9]]), torch.tensor([[0.0, 0, 2, 2]])
    assert box_iou(empty, other).tolist() == [0]
    assert box_iou(empty, empty).isnan().all()
    assert box_iou(other[:0], other[:0]).shape == (0,)
    assert box_area(torch.cat((empty, other))).tolist() == [0, 4]


@pytest.mark.parametrize('box', [[5.0, 0, 4, 1], [0, 0, float('nan'), 1], [0, 0, 1, float('inf')]])
def test_what_is_no_box(box):
    good = torch.tensor([[0.0, 0, 2, 2]])
    with pytest.raises(ValueError, match='ends before it begins, or is not finite'):
        box_iou(torch.tensor([box]), good)
    with pytest.raises(ValueError, match='ends before it begins, or is not finite'):
        box_iou(good, torch.tensor([box]))
