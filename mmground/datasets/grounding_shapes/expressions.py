"""Referring expressions: texts that are true of exactly one thing of a scene.

A :class:`Reference` is what an expression says. It is one of four types, by what it cannot do
without: left out, something else would fit as well. So a reader who is deaf to, say, relations
fails on the type ``relation``. Expressions of the type ``attribute`` do without the other three.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np

from . import expression_lexicon as words
from .comparisons import find_comparisons
from .lexicon import NUMBERS, PICTURES, POSITIONS, RELATIONS, STUFF, THINGS
from .phrases import (
    Describer,
    Description,
    choose_description,
    indefinite_article,
    judge_relation,
    naturalness,
    nominal,
    pick,
    position_phrase,
    stuff_phrase,
)

TYPES = ('attribute', 'size', 'position', 'relation')

_LONE_WEIGHT = 0.05
"""Of a thing without another of its kind, against 1: its kind alone would do."""

_TRIES = 10


@dataclass(frozen=True)
class Flavour:
    """What the expressions of a data set are like.

    Args:
        mix: Type -> share of the expressions. A scene that offers a type for no thing that is
            left to be referred to moves the shares slightly.
        located: Whether words of location are allowed.
        full: Full noun phrases with articles and clauses, instead of short ones.
        refs: Least and greatest number of things referred to in a scene.
        sentences: Least and greatest number of expressions of one thing.
    """

    mix: dict[str, float]
    located: bool
    full: bool
    refs: tuple[int, int]
    sentences: tuple[int, int]


FLAVOURS = {
    'refcoco': Flavour(
        mix=dict(attribute=0.3, size=0.15, position=0.4, relation=0.15),
        located=True,
        full=False,
        refs=(3, 4),
        sentences=(2, 3),
    ),
    'refcoco+': Flavour(
        mix=dict(attribute=0.5, size=0.25, position=0.0, relation=0.25),
        located=False,
        full=False,
        refs=(3, 4),
        sentences=(2, 3),
    ),
    'refcocog': Flavour(
        mix=dict(attribute=0.15, size=0.15, position=0.2, relation=0.5),
        located=True,
        full=True,
        refs=(2, 4),
        sentences=(2, 2),
    ),
    'referit': Flavour(
        mix=dict(attribute=0.5, size=0.15, position=0.15, relation=0.2),
        located=True,
        full=False,
        refs=(2, 4),
        sentences=(1, 3),
    ),
}
"""After RefCOCO (short, by attributes and places), RefCOCO+ (the same without words of
location) and RefCOCOg (long, relational)."""


@dataclass(frozen=True)
class Expression:
    """A referring expression.

    Args:
        text: In lower case, without a full stop.
        type: One of :data:`TYPES`.
    """

    text: str
    type: str


@dataclass(frozen=True)
class Reference:
    """What an expression says.

    Args:
        target: The thing (index in ``scene.things``) that it is true of, and no other.
        description: Attributes, and perhaps a place or a relation.
        comparison: A key of :data:`.expression_lexicon.COMPARISONS`, true of the thing among
            those that the description fits.
        group: How many things the description fits.
    """

    target: int
    description: Description
    comparison: str | None = None
    group: int = 1

    @property
    def type(self) -> str:
        """One of :data:`TYPES`: what the expression cannot do without."""
        if self.description.relation is not None:
            return 'relation'
        if self.comparison is not None:
            return 'size' if self.comparison in words.SIZE_COMPARISONS else 'position'
        if self.description.position is not None:
            return 'position'
        return 'attribute' if self.description.size is None else 'size'

    @property
    def form(self) -> str:
        """What tells it from other references of its type that one would choose among."""
        if self.description.relation is not None:
            return self.description.relation[0]
        return self.comparison or self.description.position or self.type


def refer(
    describer: Describer,
    flavour: Flavour,
    rng: np.random.Generator,
    among: Collection[str] = frozenset(THINGS),
) -> list[tuple[int, list[Expression]]]:
    """Refer to some things of a scene.

    Args:
        describer: Of the scene.
        flavour: What the expressions are to be like.
        rng: Source of all randomness.
        among: Kinds of the things that may be referred to.

    Returns:
        Pairs of a thing (index in ``scene.things``) and its expressions, at least one.
    """
    offers: dict[str, dict[int, list[Reference]]] = {kind: defaultdict(list) for kind in TYPES}
    for reference in find_references(describer, flavour.located):
        # A full noun phrase names the kind.
        if not flavour.full or reference.description.kind is not None:
            offers[reference.type][reference.target].append(reference)
    kinds = [thing.kind for thing in describer.scene.things]
    weights = np.array([1.0 if kinds.count(kind) > 1 else _LONE_WEIGHT for kind in kinds])
    types, shares = list(flavour.mix), list(flavour.mix.values())

    refs: dict[int, list[Expression]] = {}
    wanted = rng.integers(*flavour.refs, endpoint=True)
    for _ in range(_TRIES):
        if len(refs) == wanted:
            break
        count = rng.integers(*flavour.sentences, endpoint=True)
        drawn = [types[index] for index in rng.choice(len(types), count, p=shares)]
        able = [
            target
            for target in range(len(kinds))
            if target not in refs
            and kinds[target] in among
            and all(target in offers[kind] for kind in drawn)
        ]
        if not able:
            continue
        target = able[rng.choice(len(able), p=weights[able] / weights[able].sum())]
        refs[target] = _express(describer, [offers[kind][target] for kind in drawn], flavour, rng)
    return list(refs.items())


def _express(
    describer: Describer,
    offers: list[list[Reference]],
    flavour: Flavour,
    rng: np.random.Generator,
) -> list[Expression]:
    """Different expressions, one for each list of references that it may come from; fewer, if
    there are not enough ways to say it."""
    found: dict[str, Expression] = {}
    for references in offers:
        for _ in range(_TRIES):
            reference = _choose(references, rng)
            text = (_word_fully if flavour.full else _word_briefly)(reference, describer, rng)
            # Articles make no other expression.
            said = re.sub(r'\b(a|an|the) ', '', text)
            if said not in found:
                found[said] = Expression(text, reference.type)
                break
    return list(found.values())


def _choose(references: list[Reference], rng: np.random.Generator) -> Reference:
    """One of the forms, all being alike, and of its references one by naturalness."""
    form = pick(sorted({reference.form for reference in references}), rng)
    references = [reference for reference in references if reference.form == form]
    weights = np.array([naturalness(reference.description) for reference in references])
    return references[rng.choice(len(references), p=weights / weights.sum())]


def find_references(describer: Describer, located: bool) -> Iterator[Reference]:
    """All that singles out one thing, and says nothing in vain.

    Args:
        describer: Of the scene.
        located: Whether places, and relations that name a direction, are allowed.

    Yields:
        References in a fixed order.
    """
    yield from _by_attributes(describer)
    yield from _by_comparison(describer, located)
    if located:
        for position in (*POSITIONS, *words.CORNERS):
            yield from _by_space(describer, position=position)
    for relation in _relations(describer):
        if located or relation[0] in words.UNLOCATED_RELATIONS:
            yield from _by_space(describer, relation=relation)


def _by_attributes(describer: Describer) -> Iterator[Reference]:
    for description, things in describer.extensions.items():
        if len(things) > 1:
            continue
        # A size that is not needed would make it neither type.
        if description.size is None or len(_fitting_without_size(describer, description)) > 1:
            yield Reference(*things, description)


def _fitting_without_size(describer: Describer, description: Description) -> frozenset[int]:
    return describer.fitting(replace(description, size=None))


def _by_comparison(describer: Describer, located: bool) -> Iterator[Reference]:
    for description, things in describer.extensions.items():
        # One compares things of a kind: a small star is no "smaller shape" than a large ring.
        if len(things) < 2 or description.kind is None:
            continue
        group = sorted(things)
        found = find_comparisons([describer.scene.things[index] for index in group])
        for comparison, member in found.items():
            of_size = comparison in words.SIZE_COMPARISONS
            if description.size is None if of_size else located:
                yield Reference(group[member], description, comparison, len(group))


def _by_space(
    describer: Describer, position: str | None = None, relation: tuple[str, int] | None = None
) -> Iterator[Reference]:
    for targets, descriptions in describer.by_targets(position, relation).items():
        for description in descriptions:
            if len(targets) == 1 and len(describer.fitting(description)) > 1:
                yield Reference(*targets, description)


def _relations(describer: Describer) -> Iterator[tuple[str, int]]:
    """Relations to stuff, and to things that attributes alone single out."""
    for region in range(len(describer.scene.stuff)):
        yield 'on', region
    for targets, descriptions in describer.by_targets().items():
        if len(targets) == 1 and any(description.kind for description in descriptions):
            for name in RELATIONS:
                yield name, describer.scene.region_of_thing(*targets)


def _anchor(describer: Describer, region: int, rng: np.random.Generator) -> list[str]:
    """The words of the thing at the other end of a relation, without an article."""
    targets = (region - len(describer.scene.stuff),)
    named = [own for own in describer.by_targets()[targets] if own.kind is not None]
    return nominal(choose_description(named, rng, brief=True), 1, rng)


def _word_briefly(reference: Reference, describer: Describer, rng: np.random.Generator) -> str:
    """ "left star", "red ball next to ring"."""
    description, comparison = reference.description, reference.comparison

    def the(chance: float) -> list[str]:
        return ['the'] if rng.random() < chance else []

    name = _marked_nominal(description, rng, words.UNNAMED)
    if comparison is not None:
        adjective = pick(words.COMPARISONS[comparison], rng)
        name = [adjective, *name]
        if comparison in words.ENDS:
            preposition, end = words.ENDS[comparison]
            name += [preposition, *the(0.4), end]
    elif description.position in words.CORNERS:
        if rng.random() < 0.5:
            name = [description.position, *name]
        else:
            name += ['in', *the(0.3), description.position, words.CORNER]
    elif description.position is not None:
        preposition, place = position_phrase(description.position, rng)
        name += [preposition, *the(0.3), place.removeprefix('the ')]
    elif description.relation is not None:
        relation, region = description.relation
        if relation == 'on':
            kind = describer.scene.stuff[region].kind
            place = stuff_phrase(kind, True, rng).removeprefix('the ')
            name += [pick(STUFF[kind].under, rng), *the(0.4), place]
        else:
            forms = words.SHORT_RELATIONS.get(relation, ()) + RELATIONS[relation]
            name += [pick(forms, rng), *the(0.4), *_anchor(describer, region, rng)]
    return ' '.join([*the(0.1), *name])


def _word_fully(reference: Reference, describer: Describer, rng: np.random.Generator) -> str:
    """ "the red star that is next to the small ring", "the larger of the two red balls"."""
    description, comparison, scene = reference.description, reference.comparison, describer.scene
    if comparison is not None:
        adjective = pick(words.COMPARISONS[comparison], rng)
        end = []
        if comparison in words.ENDS:
            preposition, side = words.ENDS[comparison]
            end = [preposition, 'the', side]
        elif rng.random() < 0.4:
            adjective = words.COMPARISONS[comparison][-1]
            number = NUMBERS[reference.group - 1]
            plural = nominal(description, reference.group, rng)
            return ' '.join(['the', adjective, 'of', 'the', number, *plural])
        return ' '.join(['the', adjective, *_marked_nominal(description, rng), *end])

    pieces = _marked_nominal(description, rng)
    pieces.insert(0, indefinite_article(pieces[0]) if rng.random() < 0.25 else 'the')
    clauses = []
    if description.position in words.CORNERS:
        clauses += ['in', 'the', description.position, words.CORNER]
    elif description.position is not None:
        clauses += position_phrase(description.position, rng)
    if clauses and rng.random() < 0.6:
        clauses += ['of', 'the', pick(PICTURES, rng)]
    relation, region = description.relation or (None, None)
    if relation == 'on':
        clauses += _on(scene.stuff[region].kind, rng)
    else:
        # Where it stands is told now and then, in vain.
        if rng.random() < (0.6 if reference.type in ('attribute', 'size') else 0.2):
            clauses += _footing(reference, describer, rng)
        if relation is not None:
            anchor = _anchor(describer, region, rng)
            clauses += [pick(RELATIONS[relation], rng), 'the', *anchor]
    if clauses and rng.random() < 0.35:
        pieces.append(pick(words.RELATIVE_CLAUSES, rng))
    return ' '.join([*pieces, *clauses])


def _marked_nominal(description: Description, rng: np.random.Generator, *unnamed) -> list[str]:
    """The words of a noun phrase of one thing: "striped ball" or "ball with stripes"."""
    marks = words.MARKS.get(description.texture)
    if marks is not None and description.kind is not None and rng.random() < 0.35:
        return [*nominal(replace(description, texture=None), 1, rng, *unnamed), marks]
    return nominal(description, 1, rng, *unnamed)


def _footing(reference: Reference, describer: Describer, rng: np.random.Generator) -> list[str]:
    """ "on the grass", if what the type stands for is needed nevertheless."""
    things = {reference.target}
    if reference.type in ('size', 'position'):
        things = _fitting_without_size(describer, reference.description)
    for region, stuff in enumerate(describer.scene.stuff):
        if all(judge_relation(describer.scene, thing, 'on', region) for thing in things):
            return _on(stuff.kind, rng)
    return []


def _on(kind: str, rng: np.random.Generator) -> list[str]:
    return [pick(STUFF[kind].under, rng), stuff_phrase(kind, True, rng)]
