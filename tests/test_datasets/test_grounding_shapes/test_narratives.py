import itertools
import re
from collections import Counter

import numpy as np
import pytest
from shapes_reader import PLACES, STUFF, Layout, words_fit

from mmground.datasets.grounding_shapes.narratives import Chunk, Narrative, narrate
from mmground.datasets.grounding_shapes.scene import draw_scene, image_rng

SCENES = [draw_scene(image_rng(7, 'val', index, 'scene')) for index in range(250)]
NARRATIVES = [
    narrate(scene, image_rng(7, 'val', index, 'text')) for index, scene in enumerate(SCENES)
]

COUNTS = dict(a=1, an=1, two=2, three=3, four=4, five=5, six=6, seven=7, eight=8)
PLACE = re.compile(
    r'\b(?:on|at|in) the (left|right|top|bottom|upper part|lower part|middle|center)'
    r'(?: side)?(?! of (?:<|it\b))(?: of the (?:picture|image))?'
)
RELATION = re.compile(
    r'(to the left of|on the left of|to the right of|on the right of|above|over|below|under'
    r'|next to|beside|near|in front of|behind|in|on) (<\d+>|it\b)'
)


class Reader:
    """Resolves each thing phrase of a sentence from its words and its sentence."""

    def __init__(self, scene, deaf_to=None):
        self.scene = scene
        self.deaf_to = deaf_to
        self.layout = Layout(scene)
        self.antecedent = None

    def read(self, sentence):
        """Returns, per thing phrase of the sentence, (linked things, things read)."""
        scene = self.scene
        grounded = [chunk for chunk in sentence if chunk.regions]
        text = ' '.join(
            f'<{grounded.index(chunk)}>' if chunk.regions else chunk.text for chunk in sentence
        )
        conditions = {number: [] for number in range(len(grounded))}
        objects = set()
        for match in RELATION.finditer(text):
            word, anchor = match.groups()
            if anchor == 'it':
                assert self.antecedent is not None, text
                number, region = None, self.antecedent
            else:
                number = int(anchor[1:-1])
                (region,) = grounded[number].regions
                objects.add(number)
            if match.start() == 0:
                about = [other for other in conditions if other != number]
            else:
                about = [number - 1]
            for other in about:
                conditions[other].append(lambda t, w=word, r=region: self.layout.related(t, w, r))
        subjects = [
            number
            for number, chunk in enumerate(grounded)
            if number not in objects and scene.is_thing(chunk.regions[0])
        ]
        places = PLACE.findall(text)
        assert len(places) <= 1, text
        for number in subjects if places else ():
            conditions[number].append(lambda t: PLACES[places[0]](scene.things[t]))
        results = []
        for number, chunk in enumerate(grounded):
            if scene.is_thing(chunk.regions[0]):
                read = [
                    scene.region_of_thing(index)
                    for index, thing in enumerate(scene.things)
                    if (self.deaf_to == 'words' or words_fit(chunk.text, thing))
                    and (
                        self.deaf_to == 'space'
                        or all(condition(index) for condition in conditions[number])
                    )
                ]
                results.append((chunk, list(chunk.regions), read))
        stated = re.fullmatch(r'(<0>|it) (?:is|are)(?: quite)? (\w+) ?\.', text)
        if stated:
            about = [self.antecedent] if stated[1] == 'it' else grounded[0].regions
            for region in about:
                assert words_fit(stated[2], scene.regions[region]), text
        if len(subjects) == 1 and len(grounded[subjects[0]].regions) == 1:
            self.antecedent = grounded[subjects[0]].regions[0]
        elif grounded:
            self.antecedent = None
        return results


def test_every_phrase_is_resolved_by_an_independent_reader():
    phrases = 0
    for scene, narrative in zip(SCENES, NARRATIVES, strict=True):
        reader = Reader(scene)
        for sentence in narrative.sentences:
            for chunk, linked, read in reader.read(sentence):
                phrases += 1
                assert read == linked, (chunk.text, narrative.text)
        for chunk in narrative.grounded:
            if not scene.is_thing(chunk.regions[0]):
                (region,) = chunk.regions
                assert STUFF[chunk.text.split()[-1]] == scene.stuff[region].kind
    assert phrases > 3 * len(NARRATIVES)


@pytest.mark.parametrize(('deaf_to', 'least'), [('space', 0.05), ('words', 0.7)])
def test_reader_needs_what_it_reads(deaf_to, least):
    """The reader is no rubber stamp: without places and relations, or words, it fails."""
    wrong = []
    for scene, narrative in zip(SCENES, NARRATIVES, strict=True):
        reader = Reader(scene, deaf_to=deaf_to)
        for sentence in narrative.sentences:
            wrong += [read != linked for _, linked, read in reader.read(sentence)]
    assert np.mean(wrong) > least


def test_number_words_count_the_linked_regions():
    for narrative in NARRATIVES:
        for chunk in narrative.grounded:
            first = chunk.text.split()[0]
            if first in COUNTS and chunk.text != 'a few' and chunk.text.split()[-1] not in STUFF:
                few = chunk.text.startswith('a few')
                assert (few and len(chunk.regions) > 2) or len(chunk.regions) == COUNTS[first]


def test_form():
    for narrative in NARRATIVES:
        assert 2 <= len(narrative.sentences) <= 5
        assert 3 <= len(narrative.grounded) <= 8
        text = narrative.text
        assert re.fullmatch(r'[A-Z][A-Za-z ,]*\.( [A-Z][A-Za-z ,]*\.)*', text), text
        assert '  ' not in text and ' ,' not in text
        assert not re.search(r'\ba [aeio]|\ban [^aeiou]', text), text
        for chunk in narrative.chunks:
            assert chunk.text == chunk.text.strip() != ''
            assert not chunk.regions or chunk.noun
            assert chunk.text not in ('it', 'them') or not chunk.noun
        assert ' also ' not in text.split('.')[0], 'nothing was said before'


def test_chunks_reproduce_the_text():
    for narrative in NARRATIVES:
        joined = ' '.join(chunk.text for chunk in narrative.chunks)
        assert joined.replace(' ', '').lower() == narrative.text.replace(' ', '').lower()
        nouns = [chunk.noun for chunk in narrative.chunks]
        assert not any(not a and not b for a, b in itertools.pairwise(nouns))


def test_statistics():
    counts = Counter()
    for scene, narrative in zip(SCENES, NARRATIVES, strict=True):
        kinds = Counter(thing.kind for thing in scene.things)
        counts['relations'] += any(
            re.search(r'\b(next to|beside|near|above|over|below|under|behind)$', chunk.text)
            for chunk in narrative.chunks
        )
        counts['sentence_pronouns'] += ' it ' in f' {narrative.text.lower()} '
        seen = Counter()
        for chunk in narrative.chunks:
            counts['ungrounded'] += chunk.noun and not chunk.regions
        for chunk in narrative.grounded:
            counts['phrases'] += 1
            seen[chunk.regions] += 1
            if scene.is_thing(chunk.regions[0]):
                counts['things'] += 1
                counts['plurals'] += len(chunk.regions) > 1
                named = {scene.regions[region].kind for region in chunk.regions}
                counts['by_kind'] += len(named) == 1 and kinds[named.pop()] == len(chunk.regions)
        counts['repeated'] += max(seen.values()) > 1
    per_narrative = counts['phrases'] / len(NARRATIVES)
    assert 4.5 < per_narrative < 5.5
    assert counts['things'] > 0.6 * counts['phrases']
    assert 0.12 < counts['plurals'] / counts['phrases'] < 0.20
    assert counts['by_kind'] < 0.45 * counts['things']
    for name in ('ungrounded', 'relations', 'repeated', 'sentence_pronouns'):
        assert counts[name] > 0.1 * len(NARRATIVES), name
    assert len({narrative.text for narrative in NARRATIVES}) == len(NARRATIVES)


def test_same_seed_same_narrative():
    again = narrate(SCENES[0], image_rng(7, 'val', 0, 'text'))
    assert again == NARRATIVES[0]


@pytest.mark.parametrize(
    ('chunks', 'text', 'merged'),
    [
        (
            [
                Chunk('in'),
                Chunk('this image', True),
                Chunk(','),
                Chunk('there is'),
                Chunk('a ball', True, (2,)),
                Chunk('.'),
            ],
            'In this image, there is a ball.',
            ['in', 'this image', ', there is', 'a ball', '.'],
        ),
    ],
)
def test_narrative_text_and_chunks(chunks, text, merged):
    narrative = Narrative((tuple(chunks),))
    assert narrative.text == text
    assert [chunk.text for chunk in narrative.chunks] == merged
    assert [chunk.text for chunk in narrative.grounded] == ['a ball']
