from collections import Counter

import numpy as np
import pytest
from shapes_reader import KINDS, STUFF, Layout, words_fit

from mmground.datasets.grounding_shapes import make_shapes_image
from mmground.datasets.grounding_shapes.captions import (
    PHRASE_TYPES,
    PREDICATES,
    Mention,
    write_captions,
)
from mmground.datasets.grounding_shapes.lexicon import RELATIONS
from mmground.datasets.grounding_shapes.vocab import language_words


@pytest.fixture(scope='module')
def scenes():
    found = []
    for index in range(12):
        image = make_shapes_image(3, 'train', index, 64)
        found.append((image, write_captions(image.describer, image.rng('flickr30k'), 5)))
    return found


def surfaces(caption):
    """Words between each pair of neighbouring mentions, by the number of the first."""
    between, number = {}, -1
    for piece in caption.pieces:
        if isinstance(piece, Mention):
            number += 1
        elif number >= 0:
            between.setdefault(number, piece)
    return between


def test_phrases_are_true_of_their_things_and_of_no_others(scenes):
    checked = Counter()
    for image, captions in scenes:
        scene, layout = image.scene, Layout(image.scene)
        things = range(len(scene.stuff), len(scene.regions))
        for caption in captions:
            words = surfaces(caption)
            relations = {subject: (other, name) for subject, other, name in caption.relations}
            for number, mention in enumerate(caption.mentions):
                checked[mention.type] += 1
                if mention.type == 'notvisual':
                    assert mention.regions == ()
                elif mention.type == 'scene':
                    (region,) = mention.regions
                    assert scene.regions[region].kind in {
                        STUFF.get(w) for w in mention.text.split()
                    }
                else:
                    fitting = {i for i in things if words_fit(mention.text, scene.regions[i])}
                    targets = set(mention.regions)
                    assert targets <= fitting
                    if mention.type in ('unique', 'attribute'):
                        assert fitting == targets and len(targets) == 1
                    elif mention.type == 'relation':
                        assert len(fitting) > 1 and len(targets) == 1
                    else:
                        assert len(targets) > 1
                    if fitting == targets:
                        continue
                    # Told apart by the one relation that follows.
                    other, _ = relations[number]
                    (anchor,) = caption.mentions[other].regions
                    told = {
                        i
                        for i in fitting
                        if layout.related(i - len(scene.stuff), words[number], anchor)
                    }
                    assert targets <= told
                    checked['told apart'] += told == targets
                    checked['with a relation'] += 1
    assert all(checked[kind] > 5 for kind in ('unique', 'attribute', 'relation', 'plural'))
    # The reader draws the vague line between "near" and "not near" elsewhere now and then.
    assert checked['told apart'] > 0.7 * checked['with a relation']


def test_relations_are_what_the_words_say(scenes):
    for image, captions in scenes:
        for caption in captions:
            words = surfaces(caption)
            for subject, other, name in caption.relations:
                assert other == subject + 1 and name in PREDICATES
                assert words[subject] in RELATIONS.get(name, (name,))
                assert caption.mentions[subject].type in PHRASE_TYPES
            regions = [region for m in caption.mentions for region in m.regions]
            things = [region for region in regions if image.scene.is_thing(region)]
            assert len(things) == len(set(things)), 'a thing is spoken of once'


def test_texts(scenes):
    vocabulary = set(language_words()) | {'.'}
    for _, captions in scenes:
        texts = [caption.text for caption in captions]
        assert 1 <= len(set(texts)) == len(texts) <= 5
        for text in texts:
            assert text[0].isupper() and text.endswith(' .')
            assert set(text.lower().split()) <= vocabulary
    assert sum(len(captions) for _, captions in scenes) > 50


def test_the_same_numbers_give_the_same_captions(scenes):
    image, captions = scenes[0]
    again = write_captions(image.describer, image.rng('flickr30k'), 5)
    assert again == captions
    other = write_captions(image.describer, np.random.default_rng(1), 5)
    assert other != captions


def test_look_alikes_are_preferred(scenes):
    shared = Counter()
    for image, captions in scenes:
        kinds = Counter(thing.kind for thing in image.scene.things)
        for caption in captions:
            for mention in caption.mentions:
                if mention.type in PHRASE_TYPES:
                    kind = image.scene.regions[mention.regions[0]].kind
                    assert any(KINDS.get(word) == kind for word in mention.text.split())
                    shared[kinds[kind] > len(mention.regions)] += 1
    assert shared[True] > 1.5 * shared[False]
