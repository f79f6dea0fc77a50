import re
from collections import Counter

import numpy as np
import pytest
from shapes_reader import KINDS, PLACES, STUFF, Layout, words_fit

from mmground.datasets.grounding_shapes.expressions import FLAVOURS, TYPES, refer
from mmground.datasets.grounding_shapes.phrases import Describer
from mmground.datasets.grounding_shapes.scene import draw_scene, image_rng

SCENES = [draw_scene(image_rng(5, 'val', index, 'scene')) for index in range(150)]
DESCRIBERS = [Describer(scene) for scene in SCENES]
REFS = {
    name: [
        refer(describer, flavour, image_rng(5, 'val', index, name))
        for index, describer in enumerate(DESCRIBERS)
    ]
    for name, flavour in FLAVOURS.items()
}
LOCATIONS = 'left right top bottom upper lower middle center corner side part above over below '
LOCATIONS += 'under leftmost rightmost topmost highest lowest second from'
LOCATIONS = set(LOCATIONS.split())

# What "the smaller", "the leftmost" ... sort a group by, and the number that they are said of.
ORDERS = {
    ('smaller',): (lambda t: t.diameter, 2, 2),
    ('larger', 'bigger'): (lambda t: -t.diameter, 2, 2),
    ('smallest',): (lambda t: t.diameter, 3, 8),
    ('largest', 'biggest'): (lambda t: -t.diameter, 3, 8),
    ('left',): (lambda t: t.x, 2, 2),
    ('right',): (lambda t: -t.x, 2, 2),
    ('top', 'upper'): (lambda t: t.y, 2, 2),
    ('bottom', 'lower'): (lambda t: -t.y, 2, 2),
    ('leftmost',): (lambda t: t.x, 2, 8),
    ('rightmost',): (lambda t: -t.x, 2, 8),
    ('topmost', 'highest'): (lambda t: t.y, 3, 8),
    ('lowest',): (lambda t: -t.y, 3, 8),
}
ORDERS = {word: order for names, order in ORDERS.items() for word in names}
OF_SIZE = {'smaller', 'larger', 'bigger', 'smallest', 'largest', 'biggest'}
NAME = '|'.join([*KINDS, 'thing', 'shape', 'object'])
NUMBERS = dict(two=2, three=3, four=4, five=5, six=6, seven=7, eight=8)
NOUN_PHRASE = rf'(?:\w+ ){{0,3}}?(?:{NAME})(?: with (?:stripes|dots))?'
RELATION = 'to left of|on left of|left of|to right of|on right of|right of|above|over|below|under'
RELATION += '|next to|beside|near|in front of|behind'
PLACE = r'(?:on|at|in) (left|right|top|bottom|upper part|lower part|middle|center)(?: side)?'
CORNER = '(top|bottom) (left|right)'
HEADS = [
    ('of', rf'({"|".join(ORDERS)}) of ({"|".join(NUMBERS)}) ({NOUN_PHRASE})$'),
    ('corner', rf'{CORNER} ({NOUN_PHRASE})\b'),
    ('second', rf'second ({NOUN_PHRASE}) from (left|right)$'),
    ('order', rf'({"|".join(ORDERS)}) ({NOUN_PHRASE})$'),
    ('plain', rf'({NOUN_PHRASE})\b'),
]
TAILS = [
    ('stuff', rf' (?:in front of|in|on) ({"|".join(STUFF)})\b'),
    ('thing', rf' (?:{RELATION}) {NOUN_PHRASE}\b'),
    ('corner', rf' in {CORNER} corner(?: of (?:picture|image))?'),
    ('place', rf' {PLACE}(?: of (?:picture|image))?'),
    ('clause', ' (?:that|which) is'),
]


class Reader:
    """Finds what an expression is of; ``deaf_to`` names types of what it does not hear."""

    def __init__(self, scene):
        self.scene = scene
        self.layout = Layout(scene)

    def things(self, phrase, deaf_to=()):
        return [
            index
            for index, thing in enumerate(self.scene.things)
            if words_fit(phrase, thing, deaf_to_size='size' in deaf_to)
        ]

    def read(self, text, deaf_to=()):
        text = re.sub(r'\b(?:the|an|a) ', '', text)
        head, match = next((name, match) for name, form in HEADS if (match := re.match(form, text)))
        things, tail = self.things, text[match.end() :]
        if head in ('of', 'order'):
            word, phrase = match[1], match[match.lastindex]
            found = things(phrase, deaf_to)
            order, least, most = ORDERS[word]
            assert least <= len(things(phrase)) <= most, text
            assert head == 'order' or len(things(phrase)) == NUMBERS[match[2]], text
            if ('size' if word in OF_SIZE else 'position') not in deaf_to:
                found = [min(found, key=lambda t: order(self.scene.things[t]))]
        elif head == 'second':
            found = things(match[1], deaf_to)
            assert len(things(match[1])) > 2
            if 'position' not in deaf_to:
                order = ORDERS[match[2]][0]
                found = [sorted(found, key=lambda t: order(self.scene.things[t]))[1]]
        else:
            found = things(match[match.lastindex], deaf_to)
        places = [match[1], match[2]] if head == 'corner' else []
        while tail:
            name, match = next(
                (name, match) for name, form in TAILS if (match := re.match(form, tail))
            )
            tail = tail[match.end() :]
            if name in ('place', 'corner'):
                places += match.groups()
            elif name == 'stuff':
                region = self.scene.region_of_stuff(STUFF[match[1]])
                found = self.keep(found, 'on', region, deaf_to)
            elif name == 'thing':
                relation = re.match(rf' ({RELATION}) ', match[0])
                (anchor,) = things(match[0][relation.end() :])
                region = self.scene.region_of_thing(anchor)
                found = self.keep(found, relation[1], region, deaf_to)
        if 'position' not in deaf_to:
            found = [t for t in found if all(PLACES[p](self.scene.things[t]) for p in places)]
        return found

    def keep(self, found, relation, region, deaf_to):
        if 'relation' in deaf_to:
            return found
        return [thing for thing in found if self.layout.related(thing, relation, region)]


READERS = [Reader(scene) for scene in SCENES]


def cases(name):
    for scene, reader, refs in zip(SCENES, READERS, REFS[name], strict=True):
        for target, expressions in refs:
            for expression in expressions:
                yield scene, reader, target, expression


@pytest.mark.parametrize('name', FLAVOURS)
def test_an_independent_reader_finds_exactly_the_thing(name):
    count = 0
    for _, reader, target, expression in cases(name):
        assert reader.read(expression.text) == [target], expression
        count += 1
    assert count > 5 * len(SCENES)


@pytest.mark.parametrize('name', FLAVOURS)
def test_the_type_is_what_an_expression_cannot_do_without(name):
    for _, reader, target, expression in cases(name):
        others = [kind for kind in TYPES[1:] if kind != expression.type]
        if expression.type == 'attribute':
            assert reader.read(expression.text, deaf_to=others) == [target], expression
        else:
            found = reader.read(expression.text, deaf_to=[expression.type])
            assert target in found and len(found) > 1, expression


@pytest.mark.parametrize('name', FLAVOURS)
def test_the_mix_is_as_stated(name):
    mix = FLAVOURS[name].mix
    assert tuple(mix) == TYPES and sum(mix.values()) == pytest.approx(1)
    found = Counter(expression.type for *_, expression in cases(name))
    for kind in TYPES:
        assert found[kind] / found.total() == pytest.approx(mix[kind], abs=0.05)
    assert mix['position'] > 0 or found['position'] == 0


@pytest.mark.parametrize('name', FLAVOURS)
def test_most_things_are_not_told_by_their_kind(name):
    lone = [
        [thing.kind for thing in scene.things].count(scene.things[target].kind) == 1
        for scene, _, target, _ in cases(name)
    ]
    assert np.mean(lone) < 0.25


@pytest.mark.parametrize('name', FLAVOURS)
def test_form(name):
    flavour = FLAVOURS[name]
    sizes, lengths = [], []
    for refs in REFS[name]:
        targets = [target for target, _ in refs]
        assert len(set(targets)) == len(targets) <= flavour.refs[1]
        sizes.append(len(targets))
        for _, expressions in refs:
            texts = {re.sub(r'\b(the|an|a) ', '', own.text) for own in expressions}
            assert 1 <= len(texts) == len(expressions) <= flavour.sentences[1]
    for *_, expression in cases(name):
        text = expression.text
        assert re.fullmatch('[a-z]+( [a-z]+)*', text), text
        assert not re.search(r'\ba [aeio]|\ban [^aeiou]|\b(the|a|an) (the|a|an)\b', text), text
        if flavour.full:
            assert re.match('(the|a|an) ', text), text
            assert not re.search(r'\b(shape|object|thing)\b', text), text
        lengths.append(len(text.split()))
    assert np.mean(sizes) > 0.9 * np.mean(flavour.refs)
    assert (np.mean(lengths) > 7) if flavour.full else (3 < np.mean(lengths) < 4.5)


def test_refcoco_plus_has_no_word_of_location():
    assert not FLAVOURS['refcoco+'].located
    for *_, expression in cases('refcoco+'):
        assert not LOCATIONS & set(expression.text.split()), expression
    words = {word for *_, expression in cases('refcoco') for word in expression.text.split()}
    assert words >= LOCATIONS - {'topmost', 'highest'}


def test_forms_of_each_flavour_occur():
    texts = {name: [own.text for *_, own in cases(name)] for name in FLAVOURS}
    for name, forms in (
        ('refcoco', ['^left ', '^bottom right ', 'in (the )?top left corner', '^second .* left$']),
        ('refcoco+', ['^smaller ', '^biggest ', ' with stripes', ' next to ', ' behind ']),
        (
            'refcocog',
            [r'^the \w+ of the two ', ' that is ', '^a ', ' corner of the (image|pict)'],
        ),
    ):
        for form in forms:
            assert any(re.search(form, text) for text in texts[name]), (name, form)


def test_same_seed_same_expressions():
    flavour = FLAVOURS['refcoco']
    again = refer(Describer(SCENES[3]), flavour, image_rng(5, 'val', 3, 'refcoco'))
    assert again == REFS['refcoco'][3]


def test_only_the_wanted_kinds_are_referred_to():
    for scene, describer in zip(SCENES[:20], DESCRIBERS[:20], strict=True):
        kinds = {scene.things[0].kind}
        refs = refer(describer, FLAVOURS['refcoco'], np.random.default_rng(0), kinds)
        assert {scene.things[target].kind for target, _ in refs} <= kinds
