import math

import numpy as np

from mmground.evaluation.functional import overall_iou


def test_sums_first_and_divides_then():
    assert overall_iou(np.array([1, 90]), np.array([10, 100])) == 91 / 110


def test_large_sums_are_exact():
    """More pixels than a float of single precision counts, and than 32 bits hold."""
    unions = np.full(20_000, 640 * 480, dtype=np.int32)
    intersections = unions.copy()
    intersections[0] -= 1
    total = 20_000 * 640 * 480
    assert overall_iou(intersections, unions) == (total - 1) / total


def test_nothing():
    assert math.isnan(overall_iou(np.zeros(0), np.zeros(0)))
    assert overall_iou(np.zeros(3), np.zeros(3)) == 1
