"""Random numbers that depend on where they are drawn, not on what was drawn before.

A generator whose state runs through the whole training cannot be continued after a
kill, unless the state of every process is kept. One that is seeded anew at each place
from (seed, place) can: the place is known from the iteration, the epoch or the sample.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What random numbers are drawn for; each use has a stream of its own."""

    SAMPLE = 0
    ITERATION = 1
    EPOCH = 2


def seed_generators(*entropy: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch (of every device).

    Args:
        entropy: Non-negative integers that name the place, such as
            ``(seed, Stream.ITERATION, rank, iteration)``. Neighbouring places get
            unrelated generators.
    """
    torch.manual_seed(_seed_host(entropy))


@contextmanager
def seeded_generators(*entropy: int) -> Iterator[None]:
    """Seed the global generators of the host, and put them back at the end.

    Python's, NumPy's and PyTorch's CPU generators; those of accelerators are left alone,
    so that it can be used in the workers of a data loader.

    Args:
        entropy: As for :func:`seed_generators`.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    torch.default_generator.manual_seed(_seed_host(entropy))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


def _seed_host(entropy: tuple[int, ...]) -> int:
    """Seed Python and NumPy; returns a seed for PyTorch."""
    state = np.random.SeedSequence([int(value) for value in entropy]).generate_state(6)
    random.seed(state[:2].tobytes())
    # Transforms draw from the global generator, so that is the one to seed.
    np.random.seed(state[2:4])  # noqa: NPY002
    return int.from_bytes(state[4:].tobytes(), 'little')
