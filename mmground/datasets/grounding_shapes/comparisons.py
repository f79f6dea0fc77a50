"""How a thing stands out among things of which the same can be said."""

from collections.abc import Sequence

import numpy as np

from .scene import Thing

MIN_SIZE_RATIO = 1.25
"""Ratio of two diameters from which one thing is plainly the smaller."""

MIN_STEP = 0.1
"""Distance along a row, as a fraction of the image side, from which the order is plain."""


def find_comparisons(things: Sequence[Thing]) -> dict[str, int]:
    """What can be said of single members of a group by comparing them with the others.

    A thing is told by its size only if the next in size differs by :data:`MIN_SIZE_RATIO`, and
    by its place in the row only if its neighbours are :data:`MIN_STEP` away. "Smaller" and "left"
    are said of two, "smallest" and "leftmost" of more, "second" of more as well.

    Args:
        things: The group, at least two.

    Returns:
        Key of :data:`.expression_lexicon.COMPARISONS` -> index of the member it is true of.
    """
    two = len(things) == 2
    found = {}
    diameters = np.array([thing.diameter for thing in things])
    order = np.argsort(diameters)
    ratios = diameters[order][1:] / diameters[order][:-1]
    if ratios[0] >= MIN_SIZE_RATIO:
        found['smaller' if two else 'smallest'] = int(order[0])
    if ratios[-1] >= MIN_SIZE_RATIO:
        found['larger' if two else 'largest'] = int(order[-1])
    ends = {
        'x': ('left', 'right') if two else ('leftmost', 'rightmost'),
        'y': ('upper', 'lower') if two else ('topmost', 'lowest'),
    }
    for axis, (first, last) in ends.items():
        places = np.array([getattr(thing, axis) for thing in things])
        order = np.argsort(places)
        clear = np.diff(places[order]) >= MIN_STEP
        if clear[0]:
            found[first] = int(order[0])
        if clear[-1]:
            found[last] = int(order[-1])
        if axis == 'x' and not two:
            if clear[:2].all():
                found['second from the left'] = int(order[1])
            if clear[-2:].all():
                found['second from the right'] = int(order[-2])
    return found
