"""Captions in the style of Flickr30k: a few noun phrases of things, and how they are related.

A phrase of things is true of exactly the things that it is linked to: by itself (``unique``, by
its noun alone, or ``attribute``), or only together with the relation in which its caption puts it
(``relation``), so that another thing fits the same words.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from .lexicon import PICTURES, RELATIONS, STUFF
from .phrases import (
    Describer,
    Description,
    Targets,
    choose_description,
    noun_phrase,
    pick,
    stuff_phrase,
)

PHRASE_TYPES = ('unique', 'attribute', 'relation', 'plural')
"""Of phrases of things."""

PREDICATES = (*RELATIONS, 'on', 'in')
"""Relations of captions; a thing stands on some stuff and in, or in front of, other."""

_LONE_WEIGHT = 0.1
"""Of a thing without another of its kind, against 1: its noun alone would do."""

_PLURAL_SHARE = 0.2
_RELATION_SHARE = 0.5
"""Of clauses with a relation those that cannot do without it, where the scene has such."""

_TRIES = 12


@dataclass(frozen=True)
class Mention:
    """A noun phrase of a caption.

    Args:
        text: Its words.
        type: One of :data:`PHRASE_TYPES`; ``scene`` for stuff; ``notvisual``.
        regions: Region numbers that it refers to; none if it is not visual.
    """

    text: str
    type: str
    regions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Caption:
    """A caption.

    Args:
        pieces: Words (str) and mentions in order, the final full stop included.
        relations: Subject and object, numbers of mentions, and a name of :data:`PREDICATES`.
    """

    pieces: tuple[str | Mention, ...]
    relations: tuple[tuple[int, int, str], ...]

    @property
    def mentions(self) -> tuple[Mention, ...]:
        """The noun phrases in order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Mention))

    @property
    def text(self) -> str:
        """The words with single spaces, the first with a capital."""
        words = (piece.text if isinstance(piece, Mention) else piece for piece in self.pieces)
        return capitalised(' '.join(words))


def capitalised(text: str) -> str:
    """With a capital at its start."""
    return text[0].upper() + text[1:]


def write_captions(describer: Describer, rng: np.random.Generator, count: int) -> list[Caption]:
    """Different captions of a scene.

    Args:
        describer: Of the scene.
        rng: Source of all randomness.
        count: How many; there are fewer, but one at least, of a scene that offers no more.
    """
    writer = _Writer(describer, rng)
    found: dict[str, Caption] = {}
    tries = 0
    while len(found) < count and (not found or tries < _TRIES * count):
        caption = writer.write()
        if caption is not None:
            found.setdefault(caption.text, caption)
        tries += 1
    return list(found.values())


class _Writer:
    """Makes captions of a scene. Its clauses return pieces, or None if the scene offers none."""

    def __init__(self, describer: Describer, rng: np.random.Generator) -> None:
        self.describer = describer
        self.scene = describer.scene
        self.rng = rng
        self.kinds = Counter(thing.kind for thing in self.scene.things)
        # Things that can stand at the other end of a relation: a phrase of their own does.
        self.anchors = {
            targets[0]: named
            for targets, descriptions in describer.by_targets().items()
            if len(targets) == 1 and (named := _named(descriptions))
        }

    def write(self) -> Caption | None:
        self.used: set[int] = set()
        self.pieces: list[str | Mention] = []
        self.relations: list[tuple[int, int, str]] = []
        self.num_mentions = 0
        wanted = 1 + self.rng.choice(3, p=(0.35, 0.45, 0.2))
        clauses = 0
        for _ in range(_TRIES):
            if clauses == wanted:
                break
            make = (self._related, self._standing, self._plain)[
                self.rng.choice(3, p=(0.65, 0.15, 0.2))
            ]
            before = len(self.pieces)
            if clauses:
                self.pieces.append('and')
            if make():
                clauses += 1
            else:
                del self.pieces[before:]
        if not clauses:
            return None
        if self.rng.random() < 0.1:
            self._add('in', Mention(f'the {pick(PICTURES, self.rng)}', 'notvisual'))
        self._add('.')
        return Caption(tuple(self.pieces), tuple(self.relations))

    def _add(self, *pieces: str | Mention) -> int:
        """Add pieces; returns the number of the last mention."""
        self.pieces += pieces
        self.num_mentions += sum(isinstance(piece, Mention) for piece in pieces)
        return self.num_mentions - 1

    def _related(self) -> bool:
        """ "a red star next to the small ring"."""
        anchors = [anchor for anchor in self.anchors if anchor not in self.used]
        if not anchors:
            return False
        anchor = pick(anchors, self.rng)
        self.used.add(anchor)
        region = self.scene.region_of_thing(anchor)
        relations = list(RELATIONS)
        self.rng.shuffle(relations)
        needed = self.rng.random() < _RELATION_SHARE
        for relation in relations:
            candidates = self.describer.by_targets(relation=(relation, region))
            subject = (self._choose_vague(candidates) if needed else None) or self._choose(
                candidates
            )
            if subject is None:
                continue
            first = self._add(subject)
            description = choose_description(self.anchors[anchor], self.rng)
            # Its preposition comes between the two.
            self.pieces.append(pick(RELATIONS[relation], self.rng))
            second = self._add(self._word((anchor,), description, self.rng.random() < 0.5))
            self.relations.append((first, second, relation))
            return True
        self.used.discard(anchor)
        return False

    def _standing(self) -> bool:
        """ "a red star on the grass"."""
        region = int(self.rng.integers(len(self.scene.stuff)))
        subject = self._choose(self.describer.by_targets(relation=('on', region)))
        if subject is None:
            return False
        kind = self.scene.stuff[region].kind
        under = pick(STUFF[kind].under, self.rng)
        first = self._add(subject)
        self.pieces.append(under)
        second = self._add(Mention(stuff_phrase(kind, True, self.rng), 'scene', (region,)))
        self.relations.append((first, second, under))
        return True

    def _plain(self) -> bool:
        """ "two small boxes"."""
        subject = self._choose(self.describer.by_targets())
        if subject is None:
            return False
        self._add(subject)
        return True

    def _choose_vague(self, candidates: dict[Targets, list[Description]]) -> Mention | None:
        """As :meth:`_choose`, a phrase of one thing that fits others, too."""
        vague = {
            targets: [own for own in descriptions if len(self.describer.fitting(own)) > 1]
            for targets, descriptions in candidates.items()
            if len(targets) == 1
        }
        return self._choose(vague)

    def _choose(self, candidates: dict[Targets, list[Description]]) -> Mention | None:
        """A phrase of things that are not spoken of as yet."""
        options = {
            targets: named
            for targets, descriptions in candidates.items()
            if not self.used & set(targets) and (named := _named(descriptions))
        }
        several = [targets for targets in options if len(targets) > 1]
        single = [targets for targets in options if len(targets) == 1]
        if several and (not single or self.rng.random() < _PLURAL_SHARE):
            single = several
        if not single:
            return None
        weights = np.array(
            [
                1.0
                if self.kinds[self.scene.things[targets[0]].kind] > len(targets)
                else _LONE_WEIGHT
                for targets in single
            ]
        )
        targets = single[self.rng.choice(len(single), p=weights / weights.sum())]
        self.used.update(targets)
        return self._word(targets, choose_description(options[targets], self.rng))

    def _word(self, targets: Targets, description: Description, definite: bool = False) -> Mention:
        if len(targets) > 1:
            kind = 'plural'
        elif len(self.describer.fitting(description)) > 1:
            kind = 'relation'
        else:
            kind = 'unique' if self.kinds[description.kind] == 1 else 'attribute'
        text = noun_phrase(description, len(targets), definite, self.rng)
        regions = tuple(self.scene.region_of_thing(target) for target in targets)
        return Mention(text, kind, regions)


def _named(descriptions: list[Description]) -> list[Description]:
    """Those that name the kind: of others nobody could tell what a detector should have found."""
    return [description for description in descriptions if description.kind is not None]
