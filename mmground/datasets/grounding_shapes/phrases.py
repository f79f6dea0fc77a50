"""What can truly be said of the things of a scene, and how it is worded.

A :class:`Description` is the meaning of a phrase: attributes, a place in the picture, a
relation to another region. Places and relations are vague, so each has a clear yes, a clear
no, and a margin between; a description is used for a set of things only if it is a clear
yes for all of them and a clear no for every other thing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from .expression_lexicon import CORNERS
from .lexicon import ANY_THING, NUMBERS, POSITIONS, QUANTIFIERS, SIZES, STUFF, TEXTURES, THINGS
from .scene import Scene, Thing

Targets = tuple[int, ...]
"""Sorted thing indices (positions in ``scene.things``)."""


@dataclass(frozen=True)
class Description:
    """The meaning of a noun phrase about things. ``None``: not told.

    Args:
        kind: A key of :data:`.lexicon.THINGS`; ``None`` is worded "shape".
        color: A colour name.
        size: ``small`` or ``large``.
        texture: ``plain``, ``striped`` or ``dotted``.
        position: A key of :data:`.lexicon.POSITIONS` or :data:`.expression_lexicon.CORNERS`.
        relation: ``(name, region)``: a key of :data:`.lexicon.RELATIONS` and the region
            number of a thing, or ``'on'`` and the region number of stuff.
    """

    kind: str | None = None
    color: str | None = None
    size: str | None = None
    texture: str | None = None
    position: str | None = None
    relation: tuple[str, int] | None = None

    @property
    def adjectives(self) -> int:
        """How many of colour, size and texture are told."""
        return sum(value is not None for value in (self.color, self.size, self.texture))


def _judge(value: float, no: float, yes: float) -> bool | None:
    """Yes at or beyond ``yes``, no at or before ``no``, undecided between (no < yes)."""
    if value >= yes:
        return True
    return False if value <= no else None


def _all(*verdicts: bool | None) -> bool | None:
    if False in verdicts:
        return False
    return None if None in verdicts else True


def judge_position(thing: Thing, position: str) -> bool | None:
    """Whether a thing's centre lies in a part of the picture; ``None`` if it is a matter of taste.

    Args:
        thing: The thing.
        position: A key of :data:`.lexicon.POSITIONS` or :data:`.expression_lexicon.CORNERS`.
    """
    if position in CORNERS:
        return _all(*(judge_position(thing, side) for side in CORNERS[position]))
    if position == 'left':
        return _judge(-thing.x, -0.48, -0.38)
    if position == 'right':
        return _judge(thing.x, 0.52, 0.62)
    if position == 'top':
        return _judge(-thing.y, -0.48, -0.38)
    if position == 'bottom':
        return _judge(thing.y, 0.52, 0.62)
    if position == 'middle':
        return _judge(-max(abs(thing.x - 0.5), abs(thing.y - 0.5)), -0.25, -0.15)
    raise KeyError(position)


def judge_relation(scene: Scene, thing: int, relation: str, region: int) -> bool | None:
    """Whether a thing stands in a relation to a region; ``None`` if it is a matter of taste.

    Args:
        scene: The scene.
        thing: Index of the thing.
        relation: ``'on'`` for stuff, else a key of :data:`.lexicon.RELATIONS`.
        region: Region number of the stuff or the other thing.
    """
    if relation == 'on':
        return _judge(float(scene.footing[thing, region]), 0.2, 0.65)
    other = region - len(scene.stuff)
    if relation == 'in front of':
        return _judge(float(scene.overlap[thing, other]), 0.0, 0.08)
    if relation == 'behind':
        return _judge(float(scene.overlap[other, thing]), 0.0, 0.08)
    one, two = scene.things[thing], scene.things[other]
    dx, dy = one.x - two.x, one.y - two.y
    if relation == 'next to':
        gap = float(np.hypot(dx, dy)) - (one.diameter + two.diameter) / 2
        return _judge(-gap, -0.2, -0.09)
    along, across = {
        'left of': (-dx, dy),
        'right of': (dx, dy),
        'above': (-dy, dx),
        'below': (dy, dx),
    }[relation]
    # Near the axis and clearly on that side, against clearly not on it.
    return _all(_judge(along, 0.0, 0.14), _judge(along - abs(across), -0.12, 0.02))


class Describer:
    """Finds the descriptions that single out things of a scene.

    Args:
        scene: The scene.

    Attributes:
        extensions (dict[Description, frozenset[int]]): The descriptions by attributes alone
            that fit something, and the things that each fits.
    """

    def __init__(self, scene: Scene):
        self.scene = scene
        self._spatial: dict[tuple, tuple[frozenset[int], frozenset[int]]] = {}
        self._found: dict[tuple, dict[Targets, list[Description]]] = {}
        extensions: dict[Description, set[int]] = {}
        for index, thing in enumerate(scene.things):
            values = (thing.kind, thing.color, thing.size, thing.texture)
            # Each choice of the attributes to tell that are words: a medium size is not.
            for told in product((True, False), repeat=4):
                if any(told) and not (told[2] and values[2] == 'medium'):
                    told_values = (v if t else None for v, t in zip(values, told, strict=True))
                    extensions.setdefault(Description(*told_values), set()).add(index)
        self.extensions = {key: frozenset(value) for key, value in extensions.items()}

    def fitting(self, description: Description) -> frozenset[int]:
        """The things that a description fits by its attributes, whatever place or relation it
        tells; all things if it tells no attribute.
        """
        attributes = replace(description, position=None, relation=None)
        if attributes == Description():
            return frozenset(range(len(self.scene.things)))
        return self.extensions.get(attributes, frozenset())

    def spatial_extension(
        self, position: str | None = None, relation: tuple[str, int] | None = None
    ) -> tuple[frozenset[int], frozenset[int]]:
        """The things for which a place and a relation are a clear yes, and those for which
        they are not a clear no. The other end of a relation is never among them.
        """
        key = (position, relation)
        if key not in self._spatial:
            verdicts = {}
            for index, thing in enumerate(self.scene.things):
                verdict = True
                if position is not None:
                    verdict = _all(verdict, judge_position(thing, position))
                if relation is not None:
                    if self.scene.region_of_thing(index) == relation[1]:
                        continue
                    verdict = _all(verdict, judge_relation(self.scene, index, *relation))
                verdicts[index] = verdict
            self._spatial[key] = (
                frozenset(index for index, verdict in verdicts.items() if verdict is True),
                frozenset(index for index, verdict in verdicts.items() if verdict is not False),
            )
        return self._spatial[key]

    def by_targets(
        self, position: str | None = None, relation: tuple[str, int] | None = None
    ) -> dict[Targets, list[Description]]:
        """All that can be said at a place and in a relation, by what it singles out.

        Args:
            position: A place (see :class:`Description`) that every description includes.
            relation: A relation (see :class:`Description`) that every description includes.

        Returns:
            Sorted indices of one or more things -> descriptions that are a clear yes for
            exactly these and a clear no for all others. Not to be changed: it is kept.
        """
        key = (position, relation)
        if key in self._found:
            return self._found[key]
        sure, possible = self.spatial_extension(position, relation)
        found = self._found[key] = {}
        spatial = position is not None or relation is not None
        for description, extension in self.extensions.items():
            targets = extension & sure
            if targets and targets == extension & possible:
                if spatial:
                    description = replace(description, position=position, relation=relation)
                found.setdefault(tuple(sorted(targets)), []).append(description)
        return found


def naturalness(description: Description, brief: bool = False) -> float:
    """How readily a speaker would say this: colours often, many adjectives or "shape" rarely.

    Args:
        description: What would be said.
        brief: Of something known already, of which one says as little as possible.

    Returns:
        A positive weight.
    """
    weight = 1.0 if brief or description.color is None else 3.0
    weight *= ((1, 0.4, 0.1, 0.02) if brief else (1, 1, 0.6, 0.15))[description.adjectives]
    if description.kind is None:
        weight *= 0.08 if description.color is not None else 0.02
    if description.texture == 'plain':
        weight *= 0.05
    return weight


def choose_description(
    descriptions: Iterable[Description], rng: np.random.Generator, brief: bool = False
) -> Description:
    """Pick one of at least one candidates, by :func:`naturalness`."""
    descriptions = list(descriptions)
    weights = np.array([naturalness(description, brief) for description in descriptions])
    return descriptions[rng.choice(len(descriptions), p=weights / weights.sum())]


def pick(options, rng: np.random.Generator):
    """One of the surface forms in a tuple."""
    return options[rng.integers(len(options))]


def noun_phrase(
    description: Description, count: int, definite: bool, rng: np.random.Generator
) -> str:
    """Word a description without its place and relation: "two small striped boxes".

    Args:
        description: The meaning.
        count: How many things it refers to.
        definite: "the" instead of "a", a number or a quantifier.
        rng: Chooses among synonyms.
    """
    words = nominal(description, count, rng)
    if definite:
        number = [NUMBERS[count - 1]] if count > 1 and rng.random() < 0.5 else []
        words = ['the', *number, *words]
    elif count > 1:
        quantify = count > 2 and rng.random() < 0.25
        words.insert(0, pick(QUANTIFIERS, rng) if quantify else NUMBERS[count - 1])
    else:
        words.insert(0, indefinite_article(words[0]))
    return ' '.join(words)


def nominal(
    description: Description,
    count: int,
    rng: np.random.Generator,
    unnamed: tuple[tuple[str, str], ...] = ANY_THING,
) -> list[str]:
    """The words of a noun phrase without article or number: adjectives and a name.

    Args:
        description: The meaning; its place and relation are not worded.
        count: How many things it refers to.
        rng: Chooses among synonyms.
        unnamed: Names (singular, plural) of a thing whose kind is not told, the usual first.
    """
    names = unnamed if description.kind is None else THINGS[description.kind]
    # The first name is the usual one.
    name = names[0] if rng.random() < 0.7 else pick(names, rng)
    adjectives = []
    if description.size is not None:
        adjectives.append(pick(SIZES[description.size], rng))
    marks = [] if description.texture is None else [pick(TEXTURES[description.texture], rng)]
    color = [] if description.color is None else [description.color]
    adjectives += color + marks if rng.random() < 0.3 else marks + color
    return [*adjectives, name[count > 1]]


def indefinite_article(word: str) -> str:
    """``a`` or ``an``, by the word that follows."""
    return 'an' if word[0] in 'aeiou' else 'a'


def stuff_phrase(kind: str, definite: bool, rng: np.random.Generator) -> str:
    """Word a kind of stuff: "the grass", "some trees"."""
    return pick(STUFF[kind].definite if definite else STUFF[kind].new, rng)


def position_phrase(position: str, rng: np.random.Generator) -> tuple[str, str]:
    """Word a place as a preposition and a noun phrase: ``('on', 'the left side')``."""
    return pick(POSITIONS[position], rng)
