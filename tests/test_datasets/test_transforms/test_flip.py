import numpy as np
import pytest
from mmengine.dataset import Compose

from mmground.datasets.transforms import PackGroundingInputs, RandomFlipWithText, swap_left_right
from mmground.structures import Geometry


@pytest.mark.parametrize(
    ('text', 'words', 'substrings'),
    [
        ('man on left', 'man on right', 'man on right'),
        ('left of right', 'right of left', 'right of left'),
        ('leftmost and rightmost', 'rightmost and leftmost', 'rightmost and leftmost'),
        ('right-hand side', 'left-hand side', 'left-hand side'),
        ('lefthand leftward', 'righthand rightward', 'righthand rightward'),
        ('Left LEFT', 'Right RIGHT', 'Right RIGHT'),
        ('bright upright leftover', 'bright upright leftover', 'bleft upleft rightover'),
        ('copyright', 'copyright', 'copyleft'),
        ('right, left.', 'left, right.', 'left, right.'),
        ('', '', ''),
    ],
)
def test_texts(text, words, substrings):
    assert swap_left_right(text)[0] == words
    assert swap_left_right(text, rule='substrings')[0] == substrings
    # Twice is not at all.
    assert swap_left_right(words)[0] == text


@pytest.mark.parametrize('rule', ['words', 'substrings'])
def test_spans_follow_the_text(rule):
    text = 'left dog by the right bright cat on the left'
    parts = ['left dog', 'left', 'the right bright cat', 'bright', 'on', 'the left', text]
    spans = [(text.index(part), text.index(part) + len(part)) for part in parts]
    spans[5] = (len(text) - 8, len(text))
    swapped, moved = swap_left_right(text, spans, rule)
    for part, (start, end) in zip(parts, moved, strict=True):
        assert swapped[start:end] == swap_left_right(part, rule=rule)[0]


def record():
    return dict(
        img=np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3),
        img_path='a.jpg',
        img_id='7',
        sample_id='7_0',
        text='the left dog near a tree',
        phrases=[
            dict(text='the left dog', span=(0, 12), type='', phrase_id='0'),
            dict(text='a tree', span=(18, 24), type='', phrase_id='1'),
        ],
        ori_shape=(8, 12),
        img_shape=(4, 6),
        offset=(1, 2),
        canvas_shape=(8, 8),
    )


def test_image_text_and_geometry_flip_together():
    given = record()
    found = RandomFlipWithText(prob=1.0)(record())
    np.testing.assert_array_equal(found['img'], given['img'][:, ::-1])
    assert found['text'] == 'the right dog near a tree'
    assert [(phrase['text'], phrase['span']) for phrase in found['phrases']] == [
        ('the right dog', (0, 13)),
        ('a tree', (19, 25)),
    ]
    sample = PackGroundingInputs()(found)['data_samples']
    assert sample.geometry == Geometry(
        (8, 12), (4, 6), offset=(1, 2), flip=True, canvas_shape=(8, 8)
    )


def test_probability():
    given = record()
    found = RandomFlipWithText(prob=0.0)(record())
    assert found['text'] == given['text']
    np.testing.assert_array_equal(found['img'], given['img'])
    assert not PackGroundingInputs()(found)['data_samples'].geometry.flip
    flip = Compose([dict(type='RandomFlipWithText', prob=0.25)])
    flipped = sum(flip(record())['flip'] for _ in range(2000))
    assert 400 < flipped < 600


def test_unknown_rule():
    with pytest.raises(ValueError, match='rule must be one of'):
        RandomFlipWithText(rule='letters')
