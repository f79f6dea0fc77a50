import numpy as np
import pytest

from mmground.datasets.grounding_shapes.lexicon import STUFF, THINGS
from mmground.datasets.grounding_shapes.outlines import (
    STUFF_EDGES,
    patch_outline,
    rasterize,
    thing_outline,
)


def area(outline, size=256, supersample=2):
    return rasterize(outline, size, supersample)[2].sum() / 255 / size**2


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        ('ball', np.pi),
        ('ring', np.pi * (1 - 0.5**2)),
        ('box', (2 * 0.76) ** 2),
        ('diamond', 2 * 0.68),
        ('triangle', 0.87 * 1.5),
    ],
)
def test_rasterized_area(kind, expected):
    radius = 0.2
    outline = thing_outline(kind, 0.5, 0.5, radius, 0.0)
    assert area(outline) == pytest.approx(expected * radius**2, rel=0.02)


@pytest.mark.parametrize('kind', THINGS)
def test_thing_outline_is_inside_its_circle_and_turns(kind):
    outline = thing_outline(kind, 0.4, 0.6, 0.1, 0.7)
    for contour in outline:
        assert np.hypot(*(contour - (0.4, 0.6)).T).max() <= 0.1 * 1.1
    straight = thing_outline(kind, 0.4, 0.6, 0.1, 0.0)
    assert not np.allclose(outline[0], straight[0])
    assert area(outline) == pytest.approx(area(straight), rel=0.04)
    assert area(straight) > 0.2 * np.pi * 0.1**2


def test_rasterize_places_and_clips():
    square = (np.array([(0.25, 0.5), (0.5, 0.5), (0.5, 0.75), (0.25, 0.75)]),)
    rows, columns, coverage = rasterize(square, 64, 4)
    assert (rows, columns) == (slice(32, 48), slice(16, 32))
    assert coverage.shape == (16, 16) and coverage[2:-2, 2:-2].min() == 255
    outside = (square[0] + (2, 0),)
    assert rasterize(outside, 64, 4)[2].size == 0
    corner = (square[0] - (0.375, 0.625),)
    rows, columns, coverage = rasterize(corner, 64, 4)
    assert (rows, columns) == (slice(0, 8), slice(0, 8))


def test_line_is_thin():
    ring = thing_outline('ball', 0.5, 0.5, 0.3, 0.0)
    rim = rasterize(ring, 128, 4, line_width=2)[2].sum() / 255
    assert rim == pytest.approx(2 * np.pi * 0.3 * 128 * 2, rel=0.25)


def test_stuff_edges_are_irregular():
    rng = np.random.default_rng(0)
    assert set(STUFF_EDGES) <= set(STUFF)
    for kind, make in STUFF_EDGES.items():
        outline = make(0.3, rng)
        share = area(outline)
        assert (0.2 < share < 0.4) if kind == 'curtain' else (0.5 < share < 0.9)
        inner = outline[0][1:47]
        assert np.ptp(inner[:, 0 if kind == 'curtain' else 1]) > 0.005
    assert 0.03 < area(patch_outline(rng)) < 0.3
