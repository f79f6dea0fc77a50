"""Average recall of panoptic narrative grounding.

The recall at a threshold is the share of phrases whose IoU reaches it. Average
recall is the area under the recall curve between 0 and 1, which is the mean IoU
but for the rounding of the thresholds. An IoU of NaN, which stands for an empty
prediction of an empty target, misses every threshold.
"""

import numpy as np


def average_recall(ious: np.ndarray, threshold_step: float = 1e-5) -> float:
    """Area under the recall curve: the mean of :func:`recall_areas`.

    Args:
        ious: IoU of each phrase in [0, 1], or NaN for a miss. Shape (N, ).
        threshold_step: Distance between thresholds, in (0, 1).

    Returns:
        Average recall in [0, 1); NaN if there are no phrases.

    Raises:
        ValueError: If the step is not in (0, 1).

    Example:
        >>> round(average_recall(np.array([1.0, 0.5, 0.0, np.nan])), 4)
        0.375
    """
    areas = recall_areas(ious, threshold_step)
    return float(areas.mean()) if areas.size else float('nan')


def recall_areas(ious: np.ndarray, threshold_step: float = 1e-5) -> np.ndarray:
    """What each phrase contributes to average recall.

    The area is a left Riemann sum over the thresholds ``t = np.arange(0, 1, threshold_step)``, of
    ``(t[i + 1] - t[i]) * recall(t[i])`` with ``recall(t) = mean(ious >= t)``. A phrase
    contributes the intervals that begin at or below its IoU. So one binary search per
    phrase gives the exact sum without a pass over the phrases for each threshold.
    The last threshold begins no interval: a perfect result scores about
    ``1 - threshold_step``, and an IoU of 0 scores ``threshold_step``.

    Args:
        ious: As of :func:`average_recall`.
        threshold_step: As of :func:`average_recall`.

    Returns:
        Shape (N, ).

    Raises:
        ValueError: If the step is not in (0, 1).
    """
    if not 0 < threshold_step < 1:
        raise ValueError(f'threshold_step must be in (0, 1), got {threshold_step}')
    thresholds = np.arange(0, 1, threshold_step)
    area_below = np.concatenate(([0.0], np.diff(thresholds).cumsum()))
    ious = _nan_as_miss(np.asarray(ious, dtype=np.float64))
    return area_below[np.searchsorted(thresholds[:-1], ious, side='right')]


def recall_at(ious: np.ndarray, threshold: float = 0.5, strict: bool = True) -> float:
    """Share of phrases whose IoU is greater than a threshold.

    Strictly greater, as the published recalls of panoptic narrative grounding at 0.5 are counted;
    the recall curve counts an IoU that equals the threshold as well.

    Args:
        ious: IoU of each phrase, or NaN for a miss. Shape (N, ).
        threshold: The IoU to exceed.
        strict: False counts an IoU that equals the threshold as well, as the accuracy of referring
            expressions does.

    Returns:
        Recall in [0, 1]; NaN if there are no phrases.
    """
    ious = np.asarray(ious, dtype=np.float64)
    if not ious.size:
        return float('nan')
    return float((ious > threshold if strict else ious >= threshold).mean())


def recall_curve(ious: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of phrases whose IoU is at least each threshold.

    Args:
        ious: IoU of each phrase, or NaN for a miss. Shape (N, ).
        thresholds: Shape (T, ), in any order.

    Returns:
        Recall in [0, 1] at each threshold, shape (T, ); all NaN if there are no
        phrases.
    """
    ious = np.asarray(ious, dtype=np.float64)
    if ious.size == 0:
        return np.full(len(thresholds), np.nan)
    below = np.searchsorted(np.sort(_nan_as_miss(ious)), thresholds, side='left')
    return 1 - below / ious.size


def _nan_as_miss(ious: np.ndarray) -> np.ndarray:
    """NaN replaced by a value below every threshold."""
    return np.where(np.isnan(ious), -np.inf, ious)
