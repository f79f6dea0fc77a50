import itertools

import numpy as np
import pytest

from mmground.datasets.grounding_shapes.lexicon import POSITIONS, RELATIONS
from mmground.datasets.grounding_shapes.phrases import (
    Describer,
    Description,
    choose_description,
    judge_position,
    judge_relation,
    naturalness,
    noun_phrase,
)
from mmground.datasets.grounding_shapes.scene import Scene, Stuff, Thing, draw_scene

FULL = (np.array([(-0.1, -0.1), (1.1, -0.1), (1.1, 1.1), (-0.1, 1.1)]),)


def thing(kind='ball', color='red', size='small', texture='plain', x=0.5, y=0.5):
    diameter = dict(small=0.16, medium=0.25, large=0.36)[size]
    return Thing(kind, color, size, texture, x, y, diameter, 0.0)


def scene_of(*things, overlap=None):
    count = len(things)
    overlap = np.zeros((count, count)) if overlap is None else overlap
    return Scene((Stuff('grass', FULL),), things, np.ones((count, 1)), overlap)


def test_positions_have_a_margin():
    assert judge_position(thing(x=0.2), 'left') is True
    assert judge_position(thing(x=0.43), 'left') is None
    assert judge_position(thing(x=0.5), 'left') is False
    assert judge_position(thing(y=0.9), 'bottom') is True
    assert judge_position(thing(y=0.9), 'top') is False
    assert judge_position(thing(), 'middle') is True
    assert judge_position(thing(x=0.8), 'middle') is False
    for position in POSITIONS:
        assert {judge_position(thing(x=x, y=x), position) for x in (0.1, 0.5, 0.9)} == {True, False}


def test_corners_are_two_places():
    assert judge_position(thing(x=0.2, y=0.3), 'top left') is True
    assert judge_position(thing(x=0.2, y=0.44), 'top left') is None
    assert judge_position(thing(x=0.2, y=0.7), 'top left') is False
    assert judge_position(thing(x=0.8, y=0.7), 'bottom right') is True


def test_fitting_hears_attributes_only():
    describer = Describer(scene_of(thing(x=0.2), thing(color='blue'), thing('box', x=0.7)))
    assert describer.fitting(Description('ball')) == {0, 1}
    assert describer.fitting(Description('ball', 'red', position='right')) == {0}
    assert describer.fitting(Description('ball', relation=('next to', 2))) == {0, 1}
    assert describer.fitting(Description(position='left')) == {0, 1, 2}
    assert describer.fitting(Description('star')) == set()


def test_relations():
    overlap = np.zeros((3, 3))
    overlap[2, 0] = 0.2
    scene = scene_of(thing(x=0.2), thing(x=0.5), thing(x=0.22, y=0.6), overlap=overlap)
    first, second, third = 1, 2, 3  # region numbers: the grass is 0
    assert judge_relation(scene, 0, 'left of', second) is True
    assert judge_relation(scene, 1, 'left of', first) is False
    assert judge_relation(scene, 1, 'right of', first) is True
    assert judge_relation(scene, 0, 'above', second) is False
    assert judge_relation(scene, 0, 'next to', third) is True
    assert judge_relation(scene, 1, 'next to', third) is None
    assert judge_relation(scene, 2, 'in front of', first) is True
    assert judge_relation(scene, 0, 'behind', third) is True
    assert judge_relation(scene, 0, 'in front of', third) is False
    assert judge_relation(scene, 0, 'on', 0) is True


def test_opposite_relations_agree():
    pairs = [('left of', 'right of'), ('above', 'below'), ('in front of', 'behind')]
    for seed in range(10):
        scene = draw_scene(np.random.default_rng(seed))
        for i, j in itertools.permutations(range(len(scene.things)), 2):
            for one, other in pairs:
                assert judge_relation(scene, i, one, scene.region_of_thing(j)) == judge_relation(
                    scene, j, other, scene.region_of_thing(i)
                )


def test_by_targets_needs_a_clear_no_for_all_others():
    clear = scene_of(thing(x=0.2), thing(x=0.8), thing('box', x=0.3))
    told = Describer(clear).by_targets(position='left')
    assert Description('ball', position='left') in told[(0,)]
    vague = scene_of(thing(x=0.2), thing(x=0.44), thing('box', x=0.3))
    told = Describer(vague).by_targets(position='left')
    assert (0,) not in told and (2,) in told


def test_by_targets_against_brute_force():
    scene = draw_scene(np.random.default_rng(12))
    describer = Describer(scene)
    values = [
        [None, *sorted({getattr(thing, name) for thing in scene.things})]
        for name in ('kind', 'color', 'size', 'texture')
    ]
    expected = {}
    for told in itertools.product(*values):
        targets = tuple(
            index
            for index, t in enumerate(scene.things)
            if all(
                v is None or v == own
                for v, own in zip(told, (t.kind, t.color, t.size, t.texture), strict=True)
            )
        )
        if targets and told != (None,) * 4 and told[2] != 'medium':
            expected.setdefault(targets, set()).add(Description(*told))
    assert {key: set(value) for key, value in describer.by_targets().items()} == expected


def test_relation_excludes_its_other_end():
    scene = scene_of(thing(x=0.3), thing(x=0.5))
    told = Describer(scene).by_targets(relation=('next to', 1))
    assert set(told) == {(1,)}
    assert set(RELATIONS) >= {description.relation[0] for description in told[(1,)]}


@pytest.mark.parametrize(
    ('description', 'count', 'definite', 'expected'),
    [
        (Description('star', 'red'), 1, False, {'a red star'}),
        (Description('arrow'), 1, False, {'an arrow'}),
        (Description('heart', 'orange'), 1, False, {'an orange heart'}),
        (Description('cross'), 2, False, {'two crosses'}),
        (Description('star'), 2, True, {'the stars', 'the two stars'}),
        (Description(None, 'pink'), 1, True, {'the pink shape', 'the pink object'}),
        (
            Description('ring', 'red', 'small', 'striped'),
            1,
            False,
            {
                f'a {size} {marks} ring'
                for size in ('small', 'little')
                for marks in ('red striped', 'striped red')
            },
        ),
        (
            Description('star'),
            3,
            False,
            {'three stars', 'some stars', 'a few stars', 'several stars'},
        ),
    ],
)
def test_noun_phrase(description, count, definite, expected):
    rng = np.random.default_rng(0)
    assert {noun_phrase(description, count, definite, rng) for _ in range(200)} == expected


def test_choice_follows_naturalness():
    rng = np.random.default_rng(0)
    common, rare = Description('star', 'red'), Description(None, None, None, 'plain')
    assert naturalness(common) > 100 * naturalness(rare)
    chosen = [choose_description([rare, common], rng) for _ in range(50)]
    assert chosen.count(common) >= 48
