import numpy as np
import pytest

from mmground.structures import find_phrases, parse_markup
from mmground.visualization.caption import render_caption
from mmground.visualization.palette import phrase_color


def pixels_of(picture, index):
    return (np.asarray(picture) == phrase_color(index)).all(-1)


def draw(markup, width=400, font_size=16, **kwargs):
    return render_caption(*parse_markup(markup), width, font_size, **kwargs)


def test_phrases_stand_on_their_colors_in_reading_order():
    picture = draw('[A man] with [a dog]')
    man, dog = pixels_of(picture, 0), pixels_of(picture, 1)
    assert man.sum() > 200 and dog.sum() > 200
    assert np.nonzero(man)[1].max() < np.nonzero(dog)[1].min()
    assert not pixels_of(draw('A man with a dog'), 0).any()


def test_text_is_wrapped_and_stays_inside():
    text = ' '.join(['some [words]'] + ['some more words'] * 20)
    narrow, wide = draw(text, width=150), draw(text, width=900)
    assert narrow.width == 150 and narrow.height > 3 * wide.height
    for picture in (narrow, wide, draw('[' + 'endless' * 40 + ']', width=200)):
        pixels = np.asarray(picture)
        assert (pixels[:, :4] == 255).all() and (pixels[:, -4:] == 255).all()
        assert (pixels[:3] == 255).all() and (pixels[-3:] == 255).all()


def test_a_long_word_is_broken_without_losing_letters():
    one_line, broken = (draw('m' * 30, width=width) for width in (2000, 120))
    # The letters' ink is the same amount; where lines begin shifts it by rounding.
    ink = [(255 - np.asarray(picture, float)).sum() for picture in (one_line, broken)]
    assert broken.height > 2 * one_line.height
    assert ink[1] == pytest.approx(ink[0], rel=0.02)


def test_a_phrase_over_two_lines_is_colored_on_both():
    picture = draw('[one two three four five six seven eight nine ten]', width=200)
    rows = np.flatnonzero(pixels_of(picture, 0).any(1))
    assert (np.diff(rows) > 1).any(), 'two separate strips'


def test_missing_phrases_are_struck_out():
    shown = draw('[A man] and [a dog]')
    missing = draw('[A man] and [a dog]', missing={1})
    assert pixels_of(shown, 1).sum() > 200
    assert pixels_of(missing, 1).sum() < 0.2 * pixels_of(shown, 1).sum()
    # The remark "(none)" makes it longer, the line through the words is grey.
    used = [np.flatnonzero((np.asarray(p) != 255).any((0, 2))).max() for p in (shown, missing)]
    assert used[1] > used[0]
    grey = (np.asarray(missing) == 120).all(-1)
    assert grey.sum(1).max() >= 30


def test_notes_follow_their_phrases():
    plain = draw('[A man] and [a dog]')
    noted = draw('[A man] and [a dog]', notes={0: 'IoU 0.93'})
    # The same words on the same colours; the second phrase stands further to the right.
    places = [np.nonzero(pixels_of(picture, 1))[1] for picture in (plain, noted)]
    assert len(places[0]) == len(places[1]) and places[1].min() > places[0].min() + 40
    assert np.array_equal(pixels_of(plain, 0), pixels_of(noted, 0)[:, : plain.width])
    ink = [
        (255 - np.asarray(draw('[A man]', missing={0}, **notes), float)).sum()
        for notes in ({}, dict(notes={0: 'IoU 0.00'}))
    ]
    assert ink[1] > 1.1 * ink[0], 'it follows "(none)", too'


def test_nested_phrases_keep_both_colors():
    text = 'a cat on a red mat'
    phrases = find_phrases(text, [text, 'a red mat'])
    picture = render_caption(text, phrases, 500, 16)
    outer, inner = pixels_of(picture, 0), pixels_of(picture, 1)
    columns = np.flatnonzero(inner.any(0))
    # Under the inner phrase runs the line of the outer one.
    below = outer[:, columns[2] : columns[-3]]
    assert below.any(0).mean() > 0.9
    assert np.nonzero(below)[0].min() > np.nonzero(inner)[0].mean()


def test_text_without_phrases_and_empty_text():
    assert (np.asarray(draw('Nothing marked.')) < 100).any()
    assert (np.asarray(render_caption('', [], 200, 16)) == 255).all()


def test_a_font_file_is_used(tmp_path):
    with pytest.raises(OSError):
        draw('[A man]', font_file=str(tmp_path / 'absent.ttf'))
