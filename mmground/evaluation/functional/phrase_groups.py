"""Groups of phrases by size, length and label: which phrases an analysis puts together."""

from collections.abc import Sequence

import numpy as np

_SMALL, _MEDIUM = 32**2, 96**2  # COCO's limits, in pixels of the original image


def size_groups(areas: np.ndarray) -> dict[str, np.ndarray]:
    """Groups by the size of what a phrase refers to, with COCO's limits.

    Args:
        areas: Pixels in the original image. Shape (N, ).

    Returns:
        Members, boolean of shape (N, ), of ``small`` (less than 32 x 32 pixels), ``medium`` and
        ``large`` (96 x 96 or more).
    """
    small, medium = areas < _SMALL, areas < _MEDIUM
    return {'small': small, 'medium': medium & ~small, 'large': ~medium}


def length_groups(texts: Sequence[str], starts: Sequence[int]) -> dict[str, np.ndarray]:
    """Groups by the number of words between white space.

    Args:
        texts: N texts.
        starts: The smallest number of words of each group, ascending.

    Returns:
        Members by the range of the numbers of words, boolean of shape (N, ).

    Example:
        >>> list(length_groups(['a cat'], starts=(1, 2, 4)))
        ['1', '2-3', '4 or more']
    """
    words = np.array([len(text.split()) for text in texts])
    groups = {}
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        if end is None:
            groups[f'{start} or more'] = words >= start
        else:
            name = str(start) if end == start + 1 else f'{start}-{end - 1}'
            groups[name] = (words >= start) & (words < end)
    return groups


def label_groups(labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Groups of equal labels, in the order in which they first occur.

    Args:
        labels: N labels; an empty one belongs to no group.

    Returns:
        Members by label, boolean of shape (N, ).
    """
    labels = np.array(labels, dtype=object)
    return {label: labels == label for label in dict.fromkeys(labels) if label}
