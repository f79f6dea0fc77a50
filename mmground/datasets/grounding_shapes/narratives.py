"""Narratives of a scene as ordered chunks, in the style of Localized Narratives.

Every grounded phrase can be resolved from the picture and the sentence that it stands in:
what the phrase says, with the place or relation that its sentence gives it, is true of
exactly the linked things (see :mod:`.phrases`). Stuff is one region per kind.
"""

import re
from dataclasses import dataclass

import numpy as np

from . import lexicon
from .phrases import (
    Describer,
    Description,
    Targets,
    choose_description,
    judge_position,
    judge_relation,
    naturalness,
    noun_phrase,
    pick,
    position_phrase,
    stuff_phrase,
)
from .scene import Scene

MIN_GROUNDED, MAX_GROUNDED = 3, 8
"""Grounded phrases in a narrative."""

MIN_SENTENCES, MAX_SENTENCES = 2, 5


@dataclass(frozen=True)
class Chunk:
    """A stretch of a sentence.

    Args:
        text: Words as they stand in a sentence, without outer spaces.
        noun: Whether it is a noun phrase (a pronoun is not).
        regions: Region numbers that it refers to; none if it is not grounded.
    """

    text: str
    noun: bool = False
    regions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Narrative:
    """A text of a few sentences about a scene.

    Args:
        sentences: The chunks of each sentence, the final full stop included.
    """

    sentences: tuple[tuple[Chunk, ...], ...]

    @property
    def text(self) -> str:
        """The text, each sentence beginning with a capital."""
        sentences = []
        for chunks in self.sentences:
            sentence = re.sub(r' ([.,])', r'\1', ' '.join(chunk.text for chunk in chunks))
            sentences.append(sentence[0].upper() + sentence[1:])
        return ' '.join(sentences)

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """All chunks in order, with neighbours that are no noun phrases merged.

        Joined by spaces they give the text, up to case and the space before a stop or comma.
        """
        merged: list[Chunk] = []
        for chunk in (chunk for sentence in self.sentences for chunk in sentence):
            if merged and not chunk.noun and not merged[-1].noun:
                merged[-1] = Chunk(f'{merged[-1].text} {chunk.text}')
            else:
                merged.append(chunk)
        return tuple(merged)

    @property
    def grounded(self) -> tuple[Chunk, ...]:
        """The noun phrases that refer to regions."""
        return tuple(chunk for chunk in self.chunks if chunk.regions)


def narrate(
    scene: Scene, rng: np.random.Generator, describer: Describer | None = None
) -> Narrative:
    """Tell a scene in 2-5 sentences with 3-8 grounded phrases.

    Args:
        scene: What to tell.
        rng: Source of all randomness.
        describer: The scene's, if it exists already (it is costly to make).
    """
    describer = describer or Describer(scene)
    while True:
        narrative = _Narrator(describer, rng).tell()
        if MIN_GROUNDED <= len(narrative.grounded) <= MAX_GROUNDED:
            return narrative


class _Narrator:
    """Builds one narrative and remembers what has been spoken of.

    A method that builds a sentence returns its pieces, words (str) and chunks, or ``None``
    when the scene offers nothing for it.
    """

    def __init__(self, describer: Describer, rng: np.random.Generator):
        self.describer = describer
        self.scene = describer.scene
        self.rng = rng
        self.plain = describer.by_targets()
        self.known: set[int] = set()  # regions
        self.topic: int | None = None  # the thing that "it" would refer to
        self.stated: set[tuple] = set()  # (sort, (targets, ...)), see _predicates
        self.started = False

    def tell(self) -> Narrative:
        goal = int(self.rng.integers(MIN_GROUNDED, MAX_GROUNDED))
        sentences = [self._opening()]
        self.started = True
        # Chosen so that stuff takes its part: in COCO about two phrases in five are stuff.
        kinds = {
            self._at_position: 0.16,
            self._listing: 0.10,
            self._beside_known: 0.13,
            self._on_stuff: 0.27,
            self._statement: 0.17,
            self._background: 0.27,
            self._other_stuff: 0.20,
            self._it_is: 0.05,
        }
        weights = np.array(list(kinds.values()))
        remark = self.rng.random() < 0.35
        for _ in range(30):
            grounded = sum(len(_grounded(sentence)) for sentence in sentences)
            if len(sentences) >= MAX_SENTENCES - remark:
                break
            if len(sentences) >= MIN_SENTENCES and grounded >= goal:
                break
            make = list(kinds)[self.rng.choice(len(weights), p=weights / weights.sum())]
            sentence = make()
            if sentence is not None:
                sentences.append(sentence)
        if remark:
            sentences.append(self._remark())
        return Narrative(tuple(_finish(sentence) for sentence in sentences))

    # Phrases

    def _things(self, targets: Targets, description: Description, definite: bool) -> Chunk:
        regions = tuple(self.scene.region_of_thing(target) for target in targets)
        self.known.update(regions)
        for sort in ('size', 'texture', 'position'):
            if (value := getattr(description, sort)) is not None:
                self.stated.add((sort, (targets, value)))
        if description.relation is not None:
            relation, region = description.relation
            if relation == 'on':
                self.stated.add(('on', (targets, region)))
            else:
                other = region - len(self.scene.stuff)
                self.stated.add(('relation', (targets, relation, other)))
        text = noun_phrase(description, len(targets), definite, self.rng)
        return Chunk(text, noun=True, regions=regions)

    def _stuff(self, region: int) -> Chunk:
        text = stuff_phrase(self.scene.stuff[region].kind, region in self.known, self.rng)
        self.known.add(region)
        return Chunk(text, noun=True, regions=(region,))

    def _picture(self) -> str:
        return pick(lexicon.PICTURES, self.rng)

    def _template(self, template: tuple[str, ...]) -> list[str | Chunk]:
        """Fill in a template; its parts in parentheses are noun phrases of no region."""
        picture = self._picture()
        article = lexicon.ARTICLES[picture[0] in 'aeiou']
        pieces: list[str | Chunk] = []
        for piece in template:
            text = piece.strip('()').format(picture=picture, a=article)
            pieces.append(Chunk(text, noun=True) if piece.startswith('(') else text)
        return pieces

    def _place(self, position: str) -> list[str | Chunk]:
        """ "on the left side of the picture"."""
        preposition, place = position_phrase(position, self.rng)
        pieces: list[str | Chunk] = [preposition, Chunk(place, noun=True)]
        if self.rng.random() < 0.5:
            pieces += ['of', Chunk(f'the {self._picture()}', noun=True)]
        return pieces

    def _pick_new(self, candidates: dict[Targets, list[Description]]) -> Targets | None:
        """Things of which none has been spoken of, the easily described ones preferably."""
        first = len(self.scene.stuff)
        groups: dict[bool, dict[Targets, float]] = {False: {}, True: {}}
        for targets, descriptions in candidates.items():
            if not any(first + target in self.known for target in targets):
                weight = max(naturalness(description) for description in descriptions)
                groups[len(targets) > 1][targets] = weight
        several = bool(groups[True]) and (not groups[False] or self.rng.random() < 0.34)
        options = groups[several]
        if not options:
            return None
        weights = np.array(list(options.values()))
        return list(options)[self.rng.choice(len(weights), p=weights / weights.sum())]

    def _new(self, candidates: dict[Targets, list[Description]]) -> tuple[Chunk, Targets] | None:
        targets = self._pick_new(candidates)
        if targets is None:
            return None
        description = choose_description(candidates[targets], self.rng)
        return self._things(targets, description, definite=False), targets

    def _definite(self, targets: Targets) -> Chunk:
        """A phrase that singles the things out by itself: "the red star"."""
        description = choose_description(self.plain[targets], self.rng, brief=True)
        return self._things(targets, description, definite=True)

    def _topic(self, targets: Targets) -> None:
        self.topic = targets[0] if len(targets) == 1 else None

    # Verbs

    def _exists(self, plural: bool, forms: tuple[str, ...] | None = None) -> str:
        """ "There is", with an "also" now and then if it is not the first sentence."""
        if forms is None:
            forms = lexicon.LATER_EXISTENTIALS if self.started else lexicon.EXISTENTIALS
        return pick(forms, self.rng).format(be=lexicon.VERBS[plural])

    # Sentences

    def _listing(self, opening: bool = False) -> list[str | Chunk] | None:
        """ "There is a red star, a box and three blue balls"."""
        wanted = (1, 2, 3)[self.rng.choice(3, p=(0.2, 0.55, 0.25))]
        found = []
        while len(found) < wanted and (new := self._new(self.plain)) is not None:
            found.append(new)
        if not found:
            return None
        self.topic = None
        if len(found) == 1:
            self._topic(found[0][1])
        chunks = [chunk for chunk, _ in found]
        listed: list[str | Chunk] = []
        for chunk in chunks[:-1]:
            listed += [chunk, ',']
        if listed:
            listed[-1] = 'and'
        listed.append(chunks[-1])
        plural = len(chunks[0].regions) > 1
        if not opening:
            return [self._exists(plural), *listed]
        form = self.rng.random()
        if form < 0.25:
            return [*self._template(pick(lexicon.SUBJECT_OPENINGS, self.rng)), *listed]
        picture = Chunk(f'{pick(lexicon.DEMONSTRATIVES, self.rng)} {self._picture()}', noun=True)
        exists = self._exists(plural)
        if form < 0.45:
            return [exists, *listed, 'in', picture]
        comma = [','] if self.rng.random() < 0.2 else []
        return ['in', picture, *comma, exists, *listed]

    def _opening(self) -> list[str | Chunk]:
        """The first sentence; every scene has a thing that can be singled out somehow."""
        order = [self._at_position, self._on_stuff, lambda: self._listing(opening=True)]
        if self.rng.random() < 0.7:
            order.reverse()
        for make in order:
            if (sentence := make()) is not None:
                return sentence
        return self._other_stuff()

    def _at_position(self) -> list[str | Chunk] | None:
        """ "On the left side there is a ring", "there is a ring on the left side"."""
        position = pick(tuple(lexicon.POSITIONS), self.rng)
        candidates = self.describer.by_targets(position=position)
        new = self._new(candidates)
        if new is None:
            return None
        chunk, targets = new
        self._topic(targets)
        exists = self._exists(len(targets) > 1)
        if self.rng.random() < 0.3:
            return [exists, chunk, *self._place(position)]
        pieces = [*self._place(position), exists, chunk]
        if self.rng.random() < 0.3 and (another := self._new(candidates)) is not None:
            pieces += ['and', another[0]]
            self.topic = None
        return pieces

    def _on_stuff(self) -> list[str | Chunk] | None:
        """ "There are two boxes on the grass"."""
        region = int(self.rng.integers(len(self.scene.stuff)))
        candidates = self.describer.by_targets(relation=('on', region))
        new = self._new(candidates)
        if new is None:
            return None
        chunk, targets = new
        self._topic(targets)
        return [
            self._exists(len(targets) > 1),
            chunk,
            pick(lexicon.STUFF[self.scene.stuff[region].kind].under, self.rng),
            self._definite_stuff(region),
        ]

    def _definite_stuff(self, region: int) -> Chunk:
        self.known.add(region)
        text = stuff_phrase(self.scene.stuff[region].kind, True, self.rng)
        return Chunk(text, noun=True, regions=(region,))

    def _beside_known(self) -> list[str | Chunk] | None:
        """ "Next to the red star there is a ring", "below it there are two boxes"."""
        first = len(self.scene.stuff)
        anchors = [
            targets[0]
            for targets in self.plain
            if len(targets) == 1 and first + targets[0] in self.known
        ]
        pronoun = self.topic is not None and self.rng.random() < 0.5
        if pronoun:
            anchor = self.topic
        elif anchors:
            anchor = pick(anchors, self.rng)
        else:
            return None
        relations = list(lexicon.RELATIONS)
        self.rng.shuffle(relations)
        for relation in relations:
            candidates = self.describer.by_targets(relation=(relation, first + anchor))
            new = self._new(candidates)
            if new is None:
                continue
            chunk, targets = new
            words = pick(lexicon.RELATIONS[relation], self.rng)
            other = 'it' if pronoun else self._definite((anchor,))
            exists = self._exists(len(targets) > 1)
            self._topic(targets)
            if pronoun or self.rng.random() < 0.5:
                return [words, other, exists, chunk]
            return [exists, chunk, words, other]
        return None

    def _statement(self) -> list[str | Chunk] | None:
        """More about something known: "the red star is striped", "... is on the grass"."""
        first = len(self.scene.stuff)
        subjects = [
            targets
            for targets in self.plain
            if all(first + target in self.known for target in targets) and len(targets) <= 3
        ]
        if not subjects:
            return None
        plurals = [targets for targets in subjects if len(targets) > 1]
        if plurals and self.rng.random() < 0.35:
            subjects = plurals
        targets = pick(subjects, self.rng)
        predicates = [
            predicate for predicate in self._predicates(targets) if self._is_news(*predicate)
        ]
        if not predicates:
            return None
        kinds = sorted({kind for kind, _ in predicates})
        kind = pick(kinds, self.rng)
        predicate = pick([value for name, value in predicates if name == kind], self.rng)
        description = choose_description(self.plain[targets], self.rng, brief=True)
        if kind == 'texture' and description.texture is not None:
            return None  # "the striped ball is striped"
        if kind == 'size' and description.size is not None:
            return None
        self.stated.add((kind, predicate))
        subject = self._things(targets, description, definite=True)
        self._topic(targets)
        verb = lexicon.VERBS[len(targets) > 1]
        if kind == 'position':
            return [subject, verb, *self._place(predicate[1])]
        if kind == 'on':
            region = predicate[1]
            under = pick(lexicon.STUFF[self.scene.stuff[region].kind].under, self.rng)
            return [subject, verb, under, self._definite_stuff(region)]
        if kind == 'relation':
            _, relation, other = predicate
            words = pick(lexicon.RELATIONS[relation], self.rng)
            return [subject, verb, words, self._definite((other,))]
        forms = lexicon.SIZES if kind == 'size' else lexicon.TEXTURES
        return [subject, verb, pick(forms[predicate[1]], self.rng)]

    def _predicates(self, targets: Targets) -> list[tuple[str, tuple]]:
        """What is clearly true of all of some things, as (sort, (targets, ...)) pairs."""
        scene, first = self.scene, len(self.scene.stuff)
        things = [scene.things[target] for target in targets]
        found: list[tuple[str, tuple]] = []
        for sort in ('size', 'texture'):
            values = {getattr(thing, sort) for thing in things}
            if len(values) == 1 and not values & {'medium', 'plain'}:
                found.append((sort, (targets, values.pop())))
        for position in lexicon.POSITIONS:
            if all(judge_position(thing, position) for thing in things):
                found.append(('position', (targets, position)))
        for region in range(first):
            if all(judge_relation(scene, target, 'on', region) for target in targets):
                found.append(('on', (targets, region)))
        if len(targets) == 1:
            for (other, *rest), relation in (
                (key, name) for key in self.plain for name in lexicon.RELATIONS
            ):
                if rest or other == targets[0]:
                    continue
                if judge_relation(scene, targets[0], relation, first + other):
                    found.append(('relation', (targets, relation, other)))
        return found

    def _is_news(self, sort: str, statement: tuple) -> bool:
        """Whether it has not been stated of these things, alone or in a group."""
        targets, *rest = statement
        return not any(
            sort == other and rest == others and set(targets) <= set(group)
            for other, (group, *others) in self.stated
        )

    def _background(self) -> list[str | Chunk] | None:
        """ "In the background we can see the sky and trees"."""
        regions = [
            region
            for region, stuff in enumerate(self.scene.stuff)
            if stuff.kind in lexicon.BACKDROPS and region not in self.known
        ]
        if not regions:
            return None
        self.topic = None
        self.rng.shuffle(regions)
        chunks = [self._stuff(region) for region in regions[: 1 + (self.rng.random() < 0.5)]]
        listed = [chunks[0], 'and', chunks[1]] if len(chunks) > 1 else chunks
        background = ['in', Chunk(lexicon.BACKGROUND, noun=True)]
        plural = chunks[0].text.split()[-1] in ('trees', 'mountains')
        exists = self._exists(plural, lexicon.BACKGROUND_EXISTENTIALS)
        if self.rng.random() < 0.7:
            return [*background, exists, *listed]
        return [exists, *listed, *background]

    def _other_stuff(self) -> list[str | Chunk] | None:
        """ "We can also see the water"."""
        regions = [region for region in range(len(self.scene.stuff)) if region not in self.known]
        if not regions:
            return None
        self.topic = None
        return [pick(lexicon.STUFF_SENTENCES, self.rng), self._stuff(pick(regions, self.rng))]

    def _it_is(self) -> list[str | Chunk] | None:
        """ "It is striped": a sentence without a noun phrase."""
        if self.topic is None:
            return None
        predicates = [
            predicate
            for predicate in self._predicates((self.topic,))
            if predicate[0] in ('size', 'texture') and self._is_news(*predicate)
        ]
        if not predicates:
            return None
        kind, (targets, value) = pick(predicates, self.rng)
        self.stated.add((kind, (targets, value)))
        forms = lexicon.SIZES if kind == 'size' else lexicon.TEXTURES
        quite = ['quite'] if kind == 'size' and self.rng.random() < 0.4 else []
        return ['it', lexicon.VERBS[0], *quite, pick(forms[value], self.rng)]

    def _remark(self) -> list[str | Chunk]:
        """ "I think it is sunny": noun phrases that refer to no region."""
        outdoors = any(stuff.kind == 'sky' for stuff in self.scene.stuff)
        remarks = lexicon.REMARKS + lexicon.OUTDOOR_REMARKS * outdoors
        return self._template(pick(remarks, self.rng))


def _grounded(pieces: list[str | Chunk]) -> list[Chunk]:
    """The grounded chunks among the pieces of a sentence."""
    return [piece for piece in pieces if isinstance(piece, Chunk) and piece.regions]


def _finish(pieces: list[str | Chunk]) -> tuple[Chunk, ...]:
    """Merge words between noun phrases and add the full stop."""
    chunks = [piece if isinstance(piece, Chunk) else Chunk(piece) for piece in [*pieces, '.']]
    return Narrative((tuple(chunks),)).chunks
