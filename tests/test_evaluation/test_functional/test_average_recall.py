from itertools import pairwise

import numpy as np
import pytest

from mmground.evaluation.functional import average_recall, recall_at, recall_curve


def naive_average_recall(ious, step):
    """The definition: a pass over all phrases for every threshold."""
    thresholds = np.arange(0, 1, step)
    area = 0.0
    for left, right in pairwise(thresholds):
        area += (right - left) * np.mean(ious >= left)
    return area


def cases():
    rng = np.random.default_rng(0)
    exact = np.arange(0, 1, 1e-5)[[0, 1, 2, 3, 7, 12345, 50000, 70001, 99998, 99999]]
    return {
        'random': rng.random(50),
        'edges': np.array([0.0, 1.0, 0.0, np.nextafter(1, 0), np.nextafter(0, 1)]),
        'exact thresholds': exact,
        'just below': np.nextafter(exact[1:], 0),
        'just above': np.nextafter(exact, 1),
        'nan': np.array([np.nan, 0.3, np.nan, 1.0]),
        'all nan': np.array([np.nan, np.nan]),
        'one': np.array([0.5]),
    }


@pytest.mark.parametrize('name', cases())
def test_equals_naive_loop_over_100k_thresholds(name):
    ious = cases()[name]
    expected = naive_average_recall(ious, 1e-5)
    np.testing.assert_allclose(average_recall(ious), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize('step', [0.5, 0.3, 0.1, 0.05, 0.01, 1e-3])
def test_equals_naive_loop_with_other_steps(step):
    thresholds = np.arange(0, 1, step)
    ious = np.concatenate(
        (thresholds, np.nextafter(thresholds, 1), np.random.default_rng(1).random(40), [1, np.nan])
    )
    expected = naive_average_recall(ious, step)
    assert 0 < expected < 1
    np.testing.assert_allclose(average_recall(ious, step), expected, rtol=0, atol=1e-12)


def test_is_mean_iou_but_for_the_rounding_of_thresholds():
    ious = np.random.default_rng(2).random(1000)
    assert average_recall(ious) == pytest.approx(ious.mean(), abs=1e-5)
    assert average_recall(np.array([0.0])) == pytest.approx(1e-5, abs=1e-12)
    assert average_recall(np.array([1.0])) == pytest.approx(1 - 1e-5, abs=1e-12)


def test_no_phrases():
    assert np.isnan(average_recall(np.array([])))
    assert np.isnan(recall_at(np.array([])))
    assert np.isnan(recall_curve(np.array([]), np.array([0.1, 0.2]))).tolist() == [True, True]


@pytest.mark.parametrize('step', [0, 1, -0.1, np.nan])
def test_rejects_bad_step(step):
    with pytest.raises(ValueError, match='threshold_step'):
        average_recall(np.array([0.5]), step)


def test_recall_at_is_strict():
    ious = np.array([0.5, np.nextafter(0.5, 1), 0.9, np.nan])
    assert recall_at(ious, 0.5) == 0.5
    assert recall_at(ious, 0.9) == 0.0


def test_recall_at_that_is_not_strict():
    ious = np.array([0.5, np.nextafter(0.5, 0), 0.9, np.nan])
    assert recall_at(ious, 0.5, strict=False) == 0.5
    assert recall_at(ious, 0.9, strict=False) == 0.25


def test_recall_curve():
    ious = np.array([0.5, 0.2, np.nan, 1.0, 0.5])
    thresholds = np.array([0.0, 0.2, np.nextafter(0.2, 1), 0.5, 0.51, 1.0])
    expected = [np.mean(ious >= threshold) for threshold in thresholds]
    np.testing.assert_allclose(recall_curve(ious, thresholds), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(expected, [0.8, 0.8, 0.6, 0.6, 0.2, 0.2])


def test_average_recall_is_the_area_under_the_curve():
    ious = np.random.default_rng(3).random(200)
    thresholds = np.arange(0, 1, 1e-3)
    area = (recall_curve(ious, thresholds)[:-1] * np.diff(thresholds)).sum()
    assert average_recall(ious, 1e-3) == pytest.approx(area, abs=1e-12)
