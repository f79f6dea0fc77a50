import pytest

from mmground.datasets.alignment import align_utterances


def find(caption, utterances):
    spans = align_utterances(caption, utterances, range(len(utterances)))
    return [None if span is None else caption[slice(*span)] for span in spans]


def test_case_space_and_quotes_are_ignored():
    caption = '  The  Man’s “Red\tBall”,\nIT  is.'  # noqa: RUF001
    utterances = ["the man's", '"red ball"', ',', ' it ', 'is', '.', '']
    assert find(caption, utterances) == [
        'The  Man’s',  # noqa: RUF001
        '“Red\tBall”',
        ',',
        'IT',
        'is',
        '.',
        None,
    ]


def test_same_words_are_told_apart_by_their_order():
    caption = 'a dog and a dog'
    spans = align_utterances(caption, ['a dog', 'and', 'a dog'], [0, 2])
    assert spans == [(0, 5), (10, 15)]
    assert align_utterances(caption, ['a dog', 'and', 'a dog'], []) == []


def test_letters_that_change_length_keep_the_offsets():
    # The lower case of the first letter is two characters long.
    assert find('İst a Dog', ['i̇st', 'a dog']) == [None, 'a Dog']


@pytest.mark.parametrize(
    ('caption', 'utterances', 'expected'),
    [
        # A word too many, too few, another one, nothing in common.
        ('a cat on a mat', ['a cat', 'sits', 'on', 'a mat'], ['a cat', None, 'on', 'a mat']),
        ('a cat sits on a mat', ['a cat', 'on', 'a mat'], ['a cat', 'on', 'a mat']),
        ('a big cat on a mat', ['a fat cat', 'on', 'a mat'], [None, 'on', 'a mat']),
        ('', ['a cat'], [None]),
        ('a cat', [], []),
        ('xyz', ['a cat', 'on'], [None, None]),
        # Two differences, in the middle of which something is found.
        ('the red cat on one mat', ['a red', 'cat on', 'a mat'], [None, 'cat on', None]),
    ],
)  # fmt: skip
def test_what_differs_is_left_out(caption, utterances, expected):
    assert find(caption, utterances) == expected
