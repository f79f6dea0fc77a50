import random

import numpy as np
import torch

from mmground.utils.randomness import Stream, seed_generators, seeded_generators


def _draw() -> tuple:
    return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002


def test_the_same_place_draws_the_same_numbers():
    seed_generators(3, Stream.ITERATION, 0, 7)
    first = _draw()
    _draw()
    seed_generators(3, Stream.ITERATION, 0, 7)
    assert _draw() == first


def test_other_places_draw_other_numbers():
    places = [(3, 1, 0, 7), (4, 1, 0, 7), (3, 2, 0, 7), (3, 1, 1, 7), (3, 1, 0, 8)]
    drawn = []
    for place in places:
        seed_generators(*place)
        drawn.append(_draw())
    for kind in zip(*drawn, strict=True):
        assert len(set(kind)) == len(places)


def test_seeded_generators_puts_the_others_back():
    seed_generators(3)
    expected = _draw()
    seed_generators(3)
    with seeded_generators(9, 1):
        inside = _draw()
    assert _draw() == expected
    assert inside != expected
    with seeded_generators(9, 1):
        assert _draw() == inside


def test_generators_are_put_back_after_an_error():
    seed_generators(3)
    expected = _draw()
    seed_generators(3)
    try:
        with seeded_generators(9):
            _draw()
            raise KeyError
    except KeyError:
        assert _draw() == expected
