import pytest
import torch
from mmseg.utils.tokenizer import SimpleTokenizer, tokenize

from mmground.models.text_encoders.clip_tokenizer import (
    END_ID,
    START_ID,
    VOCAB_SIZE,
    clip_pieces,
)

TEXTS = (
    'the left most giraffe',
    "  A woman's\thandbag,  2nd from RIGHT! ",
    'tom &amp; jerry &lt;3',
    'caf\u00c3\u00a9 na\u00efve \u2013 \ufb01sh \u0130stanbul \u03a3\u039f\u03a3',
    '\u732b and \U0001f60a!!',
    '&#38;&quot;',
    '',
    ' \n',
)


@pytest.mark.parametrize('text', TEXTS)
def test_ids_are_those_of_mmseg(text):
    ids = [START_ID, *(piece.id for piece in clip_pieces(text)), END_ID]
    expected = tokenize(text, 77)[0]
    assert torch.tensor(ids + [0] * (77 - len(ids))).tolist() == expected.tolist()


def test_vocabulary():
    tokenizer = SimpleTokenizer()
    assert tokenizer.vocab_size == VOCAB_SIZE
    assert tokenizer.all_special_ids == [START_ID, END_ID]


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('  Two   KIDS ', ['Two', 'KIDS']),
        ("woman's bag", ['woman', "'s", 'bag']),
        ('giraffes 42', ['gira', 'ffes', '4', '2']),
        ('a\n&lt; b', ['a', '&lt;', 'b']),
        # One letter in place of two.
        ('caf\u00c3\u00a9 x', ['caf\u00c3\u00a9', 'x']),
        # Two letters in place of one: a ligature, and a capital whose small form is two.
        ('\ufb01sh tank', ['\ufb01sh', 'tank']),
        ('\u0130 x', ['\u0130', '\u0130', 'x']),
        # Bytes of one letter.
        ('\U0001f9ff x', ['\U0001f9ff', '\U0001f9ff', 'x']),
    ],
)
def test_places_are_those_of_the_text(text, words):
    pieces = clip_pieces(text)
    assert [text[piece.start : piece.end] for piece in pieces] == words


@pytest.mark.parametrize('text', TEXTS)
def test_places_are_in_order_and_not_empty(text):
    pieces = clip_pieces(text)
    for piece in pieces:
        assert 0 <= piece.start < piece.end <= len(text)
        assert text[piece.start : piece.end].strip()
    starts = [piece.start for piece in pieces]
    assert starts == sorted(starts)
    # Nothing but white space and what entities leave is outside of all pieces.
    outside = set(range(len(text))) - {i for p in pieces for i in range(p.start, p.end)}
    assert {text[i] for i in outside if not text[i].isspace()} <= set('amp;#38quotlt3&')
