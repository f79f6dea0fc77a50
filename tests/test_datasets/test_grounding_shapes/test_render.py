import numpy as np
import pytest

from mmground.datasets.grounding_shapes.lexicon import COLORS, STUFF
from mmground.datasets.grounding_shapes.outlines import rasterize
from mmground.datasets.grounding_shapes.render import (
    COLOR_RANGES,
    STUFF_COLOR_RANGES,
    render,
)
from mmground.datasets.grounding_shapes.scene import Scene, Stuff, Thing, draw_scene

FULL = (np.array([(-0.1, -0.1), (1.1, -0.1), (1.1, 1.1), (-0.1, 1.1)]),)


def test_every_word_has_a_colour():
    assert set(COLOR_RANGES) == set(COLORS)
    assert set(STUFF_COLOR_RANGES) == set(STUFF)


@pytest.mark.parametrize('size', [64, 97, 128])
def test_render_shapes_and_repeats(size):
    scene = draw_scene(np.random.default_rng(1))
    first = render(scene, size, np.random.default_rng(2))
    assert first.image.shape == (size, size, 3) and first.image.dtype == np.uint8
    assert first.regions.shape == (size, size)
    assert set(np.unique(first.regions)) == set(range(len(scene.regions)))
    again = render(scene, size, np.random.default_rng(2))
    assert np.array_equal(first.image, again.image)
    other = render(scene, size, np.random.default_rng(3))
    assert np.array_equal(first.regions, other.regions)
    assert np.abs(first.image.astype(int) - other.image).mean() > 2


def test_later_regions_cover_earlier_ones():
    things = (
        Thing('ball', 'red', 'large', 'plain', 0.45, 0.5, 0.4, 0.0),
        Thing('box', 'blue', 'medium', 'plain', 0.6, 0.5, 0.25, 0.0),
    )
    scene = Scene((Stuff('snow', FULL),), things, np.ones((2, 1)), np.zeros((2, 2)))
    regions = render(scene, 128, np.random.default_rng(0)).regions
    rows, columns, coverage = rasterize(things[1].outline, 128, 4)
    assert (regions[rows, columns][coverage >= 128] == 2).all()
    assert regions[64, 45] == 1 and regions[2, 2] == 0


@pytest.mark.parametrize('kind', sorted(STUFF))
def test_pictures_and_masks_agree_at_edges(kind):
    """A red thing's pixels, found by colour, are those of its mask to within half a pixel."""
    thing = Thing('ball', 'red', 'large', 'plain', 0.5, 0.5, 0.4, 0.0)
    blue_ish = kind not in ('curtain', 'carpet')  # whose colour may be red itself
    scene = Scene((Stuff(kind, FULL),), (thing,), np.ones((1, 1)), np.zeros((1, 1)))
    rendering = render(scene, 128, np.random.default_rng(4))
    y, x = np.mgrid[:128, :128] + 0.5
    distance = np.hypot(x - 64, y - 64) - 0.2 * 128
    assert (rendering.regions[distance < -0.6] == 1).all()
    assert (rendering.regions[distance > 0.6] == 0).all()
    if blue_ish:
        red = rendering.image[..., 0] - rendering.image[..., 1:].max(axis=-1).astype(float)
        inside, outside = red[distance < -1], red[distance > 1]
        assert np.quantile(inside, 0.02) > np.quantile(outside, 0.98)


def test_textures_differ():
    pictures = {}
    for texture in ('plain', 'striped', 'dotted'):
        thing = Thing('box', 'blue', 'large', texture, 0.5, 0.5, 0.4, 0.0)
        scene = Scene((Stuff('snow', FULL),), (thing,), np.ones((1, 1)), np.zeros((1, 1)))
        image = render(scene, 128, np.random.default_rng(5)).image
        pictures[texture] = image[54:74, 54:74].mean(axis=-1).std()
    assert pictures['striped'] > 3 * pictures['plain']
    assert pictures['dotted'] > 3 * pictures['plain']
