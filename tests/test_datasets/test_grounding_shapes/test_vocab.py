import hashlib
import re
import string

import numpy as np
import pytest
from transformers import BertTokenizerFast

from mmground.datasets.grounding_shapes.expressions import FLAVOURS, refer
from mmground.datasets.grounding_shapes.lexicon import COLORS, STUFF, THINGS
from mmground.datasets.grounding_shapes.narratives import narrate
from mmground.datasets.grounding_shapes.phrases import Describer
from mmground.datasets.grounding_shapes.scene import draw_scene
from mmground.datasets.grounding_shapes.vocab import (
    SPLIT_WORDS,
    language_words,
    wordpiece_vocabulary,
)

VOCABULARY = wordpiece_vocabulary()


def pieces_of(word):
    """Greedy longest-match-first WordPiece."""
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ('##' if start else '') + word[start:end]
            if piece in VOCABULARY:
                pieces.append(piece)
                start = end
                break
        else:
            return ['[UNK]']
    return pieces


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp('vocab') / 'vocab.txt'
    path.write_text('\n'.join(VOCABULARY) + '\n')
    return BertTokenizerFast(vocab=str(path), do_lower_case=True)


def test_special_tokens_first_and_no_repeats():
    assert VOCABULARY[:5] == ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert all(piece and not re.search(r'\s', piece) for piece in VOCABULARY)


def test_language_words_cover_the_tables():
    words = language_words()
    assert {*COLORS, 'there', 'weather', 'carpet', 'stars', 'boxes', 'beside'} <= set(words)
    assert {form for names in THINGS.values() for pair in names for form in pair} <= set(words)
    assert set(STUFF) <= set(words)
    assert all(re.fullmatch('[a-z]+', word) for word in words)


def test_generated_texts_are_covered(tokenizer):
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(150):
        narrative = narrate(draw_scene(rng), rng)
        seen |= set(re.findall('[a-z]+', narrative.text.lower()))
        tokens = tokenizer.tokenize(narrative.text)
        words = re.findall('[a-z]+|[.,]', narrative.text.lower())
        assert tokens == [piece for word in words for piece in pieces_of(word)]
        assert '[UNK]' not in tokens
        chunks = [tokenizer.tokenize(chunk.text) for chunk in narrative.chunks]
        assert tokens == [token for chunk in chunks for token in chunk]
    assert len(seen) > 120
    split = {form for word in SPLIT_WORDS for form in (word, f'{word}s')}
    assert all(word in VOCABULARY for word in seen - split)


def test_expressions_are_covered(tokenizer):
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        describer = Describer(draw_scene(rng))
        for flavour in FLAVOURS.values():
            for _, expressions in refer(describer, flavour, rng):
                for expression in expressions:
                    words = expression.text.split()
                    seen |= set(words)
                    tokens = tokenizer.tokenize(expression.text)
                    assert tokens == [piece for word in words for piece in pieces_of(word)]
    assert {'leftmost', 'smaller', 'corner', 'second', 'stripes'} <= seen <= set(language_words())


def test_ids_of_the_narratives_pieces_stay():
    pieces = '\n'.join(VOCABULARY[:257]).encode()
    digest = hashlib.sha256(pieces).hexdigest()
    assert digest == '50666a0022e940ffe09085e8f47e99fc180d8b8b72d3a7e18a85b114052f7669'
    assert {'leftmost', 'smaller', 'thing'} <= set(VOCABULARY[257:])


@pytest.mark.parametrize('word', SPLIT_WORDS)
def test_long_words_split_as_designed(word):
    assert ''.join(SPLIT_WORDS[word]).replace('##', '') == word
    assert pieces_of(word) == list(SPLIT_WORDS[word])
    assert pieces_of(f'{word}s') == [*SPLIT_WORDS[word], '##s']


def test_any_ascii_text_tokenises(tokenizer):
    text = 'Zebra-crossing #42: "quixotic" ' + string.printable
    assert '[UNK]' not in tokenizer.tokenize(text)
