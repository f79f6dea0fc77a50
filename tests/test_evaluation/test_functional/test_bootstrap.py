import numpy as np
import pytest

from mmground.evaluation.functional import bootstrap_intervals


def test_agrees_with_a_loop_over_drawn_images():
    generator = np.random.default_rng(0)
    scores = generator.random((2, 60))
    groups = generator.integers(0, 15, 60)
    found = bootstrap_intervals(scores, groups, 0.9, 4000)
    images = np.unique(groups)
    means = []
    for _ in range(4000):
        drawn = generator.choice(images, len(images))
        units = np.concatenate([np.flatnonzero(groups == image) for image in drawn])
        means.append(scores[:, units].mean(1))
    expected = np.quantile(means, (0.05, 0.95), axis=0).T
    np.testing.assert_allclose(found, expected, atol=0.006)


def test_units_of_one_image_count_as_one():
    """Repeating each score widens nothing and narrows nothing if the images stay the same."""
    scores = np.random.default_rng(0).random((1, 20))
    once = bootstrap_intervals(scores, np.arange(20))
    often = bootstrap_intervals(scores.repeat(5, 1), np.arange(20).repeat(5))
    np.testing.assert_allclose(once, often)
    apart = bootstrap_intervals(scores.repeat(5, 1), np.arange(100))
    assert np.ptp(apart) < 0.6 * np.ptp(once)


def test_the_seed_decides():
    scores, groups = np.random.default_rng(0).random((1, 30)), np.arange(30)
    first, again, other = (bootstrap_intervals(scores, groups, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize(
    ('count', 'level', 'message'), [(0, 0.95, 'nothing to draw'), (3, 1.0, 'level must be in')]
)
def test_bad_arguments(count, level, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_intervals(np.zeros((1, count)), np.zeros(count), level)
