import numpy as np

from mmground.datasets.grounding_shapes.lexicon import COLORS, STUFF, TEXTURES, THINGS
from mmground.datasets.grounding_shapes.outlines import rasterize
from mmground.datasets.grounding_shapes.scene import (
    MIN_THING_AREA,
    MIN_VISIBLE,
    SIZE_RANGES,
    draw_scene,
    image_id,
    image_rng,
)

SCENES = [draw_scene(image_rng(3, 'train', index, 'scene')) for index in range(60)]


def mask(outline, size=200):
    full = np.zeros((size, size), dtype=bool)
    rows, columns, coverage = rasterize(outline, size, supersample=2)
    full[rows, columns] = coverage >= 128
    return full


def test_scene_content():
    for scene in SCENES:
        assert 2 <= len(scene.stuff) <= 4 and 3 <= len(scene.things) <= 8
        kinds = [stuff.kind for stuff in scene.stuff]
        assert len(set(kinds)) == len(kinds) and set(kinds) <= set(STUFF)
        assert mask(scene.stuff[0].outline).all(), 'the first stuff leaves void'
        for thing in scene.things:
            assert thing.kind in THINGS and thing.color in COLORS and thing.texture in TEXTURES
            low, high = SIZE_RANGES[thing.size]
            assert low <= thing.diameter <= high
        assert scene.is_thing(scene.region_of_thing(0)) and not scene.is_thing(0)
        assert scene.regions[scene.region_of_thing(2)] is scene.things[2]
        assert scene.region_of_stuff(kinds[-1]) == len(kinds) - 1


def test_things_stay_visible_and_one_colour_does_not_touch():
    for scene in SCENES:
        masks = [mask(thing.outline) for thing in scene.things]
        for index, own in enumerate(masks):
            hidden = np.any([own & front for front in masks[index + 1 :]], axis=0)
            visible = own.sum() - np.sum(hidden & own)
            # The generator judges on a coarse grid, hence the slack.
            assert visible >= 0.9 * MIN_VISIBLE * own.sum()
            assert visible >= 0.8 * MIN_THING_AREA * own.size
            for other in range(index):
                if scene.things[other].color == scene.things[index].color:
                    assert not (own & masks[other]).any()


def test_layout_tables_match_fine_masks():
    errors = []
    for scene in SCENES[:20]:
        masks = [mask(thing.outline) for thing in scene.things]
        ground = np.zeros(masks[0].shape, dtype=int)
        for number, stuff in enumerate(scene.stuff):
            ground[mask(stuff.outline)] = number
        for i, own in enumerate(masks):
            for s in range(len(scene.stuff)):
                errors.append(scene.footing[i, s] - (ground[own] == s).mean())
            for j, other in enumerate(masks):
                expected = (own & other).sum() / other.sum() if i > j else 0
                errors.append(scene.overlap[i, j] - expected)
    # A small thing has some 30 cells of the coarse grid on which the tables are made.
    assert np.abs(errors).max() < 0.15 and np.abs(errors).mean() < 0.01


def test_most_scenes_have_look_alikes():
    def any_repeat(scene, name):
        values = [getattr(thing, name) for thing in scene.things]
        return len(set(values)) < len(values)

    for name in ('kind', 'color'):
        assert np.mean([any_repeat(scene, name) for scene in SCENES]) > 0.8


def test_random_numbers_depend_on_every_part():
    base = (0, 'train', 5, 'scene')
    draws = {
        image_rng(*arguments).integers(2**62)
        for arguments in (
            base,
            (1, 'train', 5, 'scene'),
            (0, 'val', 5, 'scene'),
            (0, 'train', 6, 'scene'),
            (0, 'train', 5, 'pixels'),
        )
    }
    assert len(draws) == 5
    assert image_rng(*base).integers(2**62) in draws


def test_image_ids_are_unique_over_splits():
    ids = [image_id(split, index) for split in ('train', 'val') for index in range(1000)]
    assert len(set(ids)) == len(ids) and min(ids) > 0
