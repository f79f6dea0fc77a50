import sys
from types import SimpleNamespace

import pytest

from mmground.structures import (
    find_phrases,
    format_markup,
    markup,
    parse_markup,
    resolve_expression,
    resolve_phrases,
)


def spans(phrases):
    return [phrase['span'] for phrase in phrases]


@pytest.fixture
def no_spacy(monkeypatch):
    monkeypatch.setitem(sys.modules, 'spacy', None)
    markup._spacy_model.cache_clear()
    yield
    markup._spacy_model.cache_clear()


@pytest.fixture
def fake_spacy(monkeypatch):
    """A stand-in that calls every capitalised word a noun and 'It' a pronoun."""

    def model(text):
        words, start = [], 0
        for word in text.split(' '):
            if word[:1].isupper():
                pos = 'PRON' if word == 'It' else 'NOUN'
                words.append(
                    SimpleNamespace(
                        start_char=start,
                        end_char=start + len(word),
                        root=SimpleNamespace(pos_=pos),
                    )
                )
            start += len(word) + 1
        return SimpleNamespace(noun_chunks=words)

    monkeypatch.setitem(sys.modules, 'spacy', SimpleNamespace(load=lambda name: model))
    markup._spacy_model.cache_clear()
    yield
    markup._spacy_model.cache_clear()


def test_brackets_become_spans_of_the_plain_text():
    plain, phrases = parse_markup('A [man] throws [a red frisbee] on [the grass].')
    assert plain == 'A man throws a red frisbee on the grass.'
    assert [plain[slice(*span)] for span in spans(phrases)] == ['man', 'a red frisbee', 'the grass']
    assert phrases[1] == dict(text='a red frisbee', span=(13, 26), type='phrase', phrase_id='1')


def test_escapes_and_spaces_inside_brackets():
    plain, phrases = parse_markup(r'Sign \[A\\B\] shows [ two  dogs ] C:\d')
    assert plain == r'Sign [A\B] shows  two  dogs  C:\d'
    assert phrases[0]['text'] == 'two  dogs'
    assert plain[slice(*phrases[0]['span'])] == 'two  dogs'


def test_a_bracket_inside_a_phrase_can_be_escaped():
    plain, phrases = parse_markup(r'[the \[x\] key]')
    assert plain == phrases[0]['text'] == 'the [x] key'


def test_text_without_markup():
    assert parse_markup('A man.') == ('A man.', [])


@pytest.mark.parametrize(
    ('text', 'problem', 'position'),
    [
        ('a [man', 'never closed', 2),
        ('a man] b', 'without', 5),
        ('[a [man]]', 'inside the phrase opened at position 0', 3),
        ('a [] b', 'empty', 2),
        ('a [  ] b', 'empty', 2),
        ('[a] b]', 'without', 5),
    ],
)
def test_wrong_markup_names_the_position(text, problem, position):
    with pytest.raises(ValueError, match=rf'{problem}.*at position {position} of'):
        parse_markup(text)


def test_phrases_are_found_as_whole_words_in_any_case():
    text = 'The cathedral and The  Cat near a cat.'
    phrases = find_phrases(text, ['cat', 'the cat'])
    assert [text[slice(*span)] for span in spans(phrases)] == ['Cat', 'The  Cat']
    assert phrases[0]['text'] == 'Cat'


def test_a_repeated_phrase_takes_the_next_occurrence():
    text = 'a cat, a cat and a cat'
    assert spans(find_phrases(text, ['a cat'] * 3)) == [(0, 5), (7, 12), (17, 22)]
    with pytest.raises(ValueError, match=r"'a cat' is listed more often than the 3"):
        find_phrases(text, ['a cat'] * 4)


def test_a_place_of_its_own_comes_before_one_inside_another_phrase():
    text = 'a red ball beside a ball'
    assert spans(find_phrases(text, ['a red ball', 'ball'])) == [(0, 10), (20, 24)]
    assert spans(find_phrases('a red ball', ['a red ball', 'ball'])) == [(0, 10), (6, 10)]


def test_phrases_that_end_in_a_sign():
    assert spans(find_phrases('a T-shirt (blue) here', ['(blue)', 'T-shirt'])) == [(10, 16), (2, 9)]


def test_a_missing_phrase_is_named():
    with pytest.raises(ValueError, match=r"'dog' does not occur .* 'a hotdog stand'"):
        find_phrases('a hotdog stand', ['dog'])
    with pytest.raises(ValueError, match='empty'):
        find_phrases('a dog', [' '])
    with pytest.raises(TypeError, match='list of strings'):
        find_phrases('a dog', 'dog')


def test_resolve_takes_brackets_or_the_list():
    assert resolve_phrases('a [dog]') == parse_markup('a [dog]')
    plain, phrases = resolve_phrases(r'a \[dog\]', ['dog'])
    assert (plain, spans(phrases)) == ('a [dog]', [(3, 6)])
    with pytest.raises(ValueError, match='use one of the two'):
        resolve_phrases('a [dog]', ['dog'])
    with pytest.raises(ValueError, match='empty'):
        resolve_phrases('a dog', [])


def test_a_whole_text_can_be_the_phrase():
    text = 'the left dog.'
    assert spans(resolve_phrases(text, [text])[1]) == [(0, len(text))]


def test_unmarked_text_without_spacy_says_the_other_ways(no_spacy):
    with pytest.raises(ImportError, match=r'spaCy.*brackets.*phrases='):
        resolve_phrases('a dog')


def test_unmarked_text_with_spacy(fake_spacy):
    plain, phrases = resolve_phrases('It sees Dogs and Cats')
    assert plain == 'It sees Dogs and Cats'
    assert [phrase['text'] for phrase in phrases] == ['Dogs', 'Cats']
    with pytest.raises(ValueError, match='no noun phrase'):
        resolve_phrases('nothing here')


@pytest.fixture
def real_spacy(tmp_path, monkeypatch):
    """SpaCy itself, with a pipeline whose parser knows a dozen words, in a package's place."""
    pytest.importorskip('spacy', exc_type=ImportError)
    import spacy
    from spacy.language import Language

    of_word = {'a': 'DET', 'the': 'DET', 'red': 'ADJ', 'man': 'NOUN', 'frisbee': 'NOUN'}
    of_word |= {'dogs': 'NOUN', 'it': 'PRON', 'throws': 'VERB', 'to': 'ADP', 'and': 'CCONJ'}

    @Language.component('toy_parser')
    def toy_parser(doc):
        noun = None
        for token in reversed(doc):
            token.pos_ = of_word.get(token.lower_, 'X')
            token.head, token.dep_ = token, 'ROOT' if token.pos_ == 'VERB' else 'dep'
            if token.pos_ in ('NOUN', 'PRON'):
                noun, token.dep_ = token, 'dobj'
            elif token.pos_ in ('DET', 'ADJ'):
                token.head, token.dep_ = noun, 'det'
        return doc

    pipeline = spacy.blank('en')
    pipeline.add_pipe('toy_parser')
    pipeline.to_disk(tmp_path / 'en_core_web_sm')
    monkeypatch.chdir(tmp_path)  # where spaCy looks for a pipeline that is no package
    markup._spacy_model.cache_clear()
    yield
    markup._spacy_model.cache_clear()


def test_noun_chunks_of_spacy_itself(real_spacy):
    text = 'It throws a red  frisbee to dogs and the man.'
    plain, phrases = resolve_phrases(text)
    assert plain == text
    # With the white space of the text, and without the bare pronoun.
    assert [phrase['text'] for phrase in phrases] == ['a red  frisbee', 'dogs', 'the man']
    assert spans(phrases) == [(10, 24), (28, 32), (37, 44)]
    with pytest.raises(ValueError, match='no noun phrase found'):
        resolve_phrases('it throws')


def test_spacy_without_its_english_model(tmp_path, monkeypatch):
    spacy = pytest.importorskip('spacy', exc_type=ImportError)
    if spacy.util.is_package('en_core_web_sm'):
        pytest.skip('the model is installed')
    monkeypatch.chdir(tmp_path)
    markup._spacy_model.cache_clear()
    with pytest.raises(ImportError, match=r'spacy download en_core_web_sm\).*brackets.*phrases='):
        resolve_phrases('a dog')


@pytest.mark.parametrize(
    ('text', 'ranges', 'expected'),
    [
        ('A man on grass', [(9, 14), (2, 5)], 'A [man] on [grass]'),
        ('A man', [(0, 5), (0, 5)], '[A man]'),
        ('A man', [], 'A man'),
        ('red box', [(0, 3), (3, 7)], '[red][ box]'),
        (r'A [red] \ box', [(2, 7)], r'A [\[red\]] \\ box'),
        ('A man', [(0, 5), (2, 5)], None),
    ],
)
def test_format_is_the_inverse_of_parse(text, ranges, expected):
    marked = format_markup(text, ranges)
    assert marked == expected
    if marked is not None:
        assert parse_markup(marked)[0] == text


@pytest.mark.parametrize('text', ['', '  '])
def test_an_empty_text_is_said_to_be_one(no_spacy, text):
    with pytest.raises(ValueError, match='the text is empty'):
        resolve_phrases(text)


@pytest.mark.parametrize(
    ('text', 'phrases'),
    [
        ('the left dog', None),
        (' the left dog\n', None),
        ('[the left dog]', None),
        ('the left dog', ['the left  dog']),
    ],
)
def test_an_expression_is_the_whole_text(text, phrases, recwarn):
    expected = dict(text='the left dog', span=(0, 12), type='', phrase_id='0')
    assert resolve_expression(text, phrases) == ('the left dog', [expected])
    assert not recwarn.list


def test_brackets_in_an_expression_are_removed():
    with pytest.warns(UserWarning, match="'the left dog' as one expression: its brackets are"):
        text, (phrase,) = resolve_expression('the left [dog]')
    assert text == phrase['text'] == 'the left dog'
    assert resolve_expression(r'\[x\] mark')[0] == '[x] mark'


@pytest.mark.parametrize(
    ('text', 'phrases', 'kind', 'match'),
    [
        (' ', None, ValueError, 'the text is empty'),
        ('a [dog', None, ValueError, 'never closed'),
        ('a dog', ['dog'], ValueError, r"not the phrases \['dog'\] in it: give each expression"),
        ('a dog', [], ValueError, 'give each expression'),
        ('a dog', 'a dog', TypeError, 'list of strings'),
    ],
)
def test_what_is_no_expression(text, phrases, kind, match):
    with pytest.raises(kind, match=match):
        resolve_expression(text, phrases)
