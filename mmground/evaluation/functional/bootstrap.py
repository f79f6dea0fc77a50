"""How far a mean over samples can be trusted."""

import numpy as np


def bootstrap_intervals(
    scores: np.ndarray,
    groups: np.ndarray,
    level: float = 0.95,
    num_draws: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Percentile intervals of means, by drawing groups of scores with replacement.

    Expressions of one image stand or fall together, so the images are what is drawn. For the
    difference of two systems, pass the differences of their scores: the same draws are used for
    both then.

    Args:
        scores: Of each of M systems, for the same N units. Shape (M, N).
        groups: The group of each unit, such as the id of its image. Shape (N, ).
        level: Share of the drawn means that lie in an interval.
        num_draws: Draws.
        seed: Of the draws.

    Returns:
        Low and high end of the interval of each system. Shape (M, 2).

    Raises:
        ValueError: If there is no unit, or the level is not in (0, 1).

    Example:
        >>> bootstrap_intervals(np.array([[1.0, 1.0, 1.0]]), np.array(['a', 'a', 'b']))
        array([[1., 1.]])
    """
    if not scores.shape[1]:
        raise ValueError('there is nothing to draw from: no unit has a score')
    if not 0 < level < 1:
        raise ValueError(f'level must be in (0, 1), got {level}')
    names, group = np.unique(groups, return_inverse=True)
    sums = np.stack([np.bincount(group, own, len(names)) for own in scores])
    sizes = np.bincount(group, minlength=len(names))
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), num_draws)
    means = counts @ sums.T / (counts @ sizes)[:, None]
    tail = (1 - level) / 2
    return np.quantile(means, (tail, 1 - tail), axis=0).T
