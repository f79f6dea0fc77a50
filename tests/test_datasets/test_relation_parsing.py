import sys

import pytest

from mmground.datasets.relation_parsing import (
    Dependencies,
    choose_predicates,
    find_relations,
    head_token,
    related_phrases,
    spacy_dependencies,
    spacy_parser,
    token_spans,
)


def tree(*tokens):
    """Of (word, head, dep) or (word, head, dep, lemma)."""
    words, heads, deps = zip(*(token[:3] for token in tokens), strict=True)
    lemmas = [token[3] if len(token) > 3 else token[0] for token in tokens]
    return Dependencies(words, heads, deps, lemmas)


MAN_IN_HAT = tree(
    ('A', 1, 'det'), ('man', 1, 'ROOT'), ('in', 1, 'prep'), ('a', 4, 'det'), ('hat', 2, 'pobj')
)  # fmt: skip


def test_a_preposition():
    assert find_relations(MAN_IN_HAT, [(0, 2), (3, 5)]) == [(0, 1, 'in')]
    assert find_relations(MAN_IN_HAT, [(3, 5), (0, 2)]) == [(1, 0, 'in')]
    assert find_relations(MAN_IN_HAT, [(0, 2)]) == []
    # A phrase is not related to itself.
    assert find_relations(MAN_IN_HAT, [(0, 5)]) == []


def test_prepositions_of_several_words():
    # A man stands in front of a red car and a dog .
    caption = tree(
        ('A', 1, 'det'), ('man', 2, 'nsubj'), ('stands', 2, 'ROOT', 'stand'), ('in', 2, 'prep'),
        ('front', 3, 'pobj'), ('of', 4, 'prep'), ('a', 8, 'det'), ('red', 8, 'amod'),
        ('car', 5, 'pobj'), ('and', 8, 'cc'), ('a', 11, 'det'), ('dog', 8, 'conj'),
        ('.', 2, 'punct'),
    )  # fmt: skip
    assert find_relations(caption, [(0, 2), (6, 9), (10, 12)]) == [
        (0, 1, 'stand in front of'),
        (0, 2, 'stand in front of'),
    ]
    # "the left side" is in no phrase, so it belongs to the preposition.
    caption = tree(
        ('ball', 0, 'ROOT'), ('to', 0, 'prep'), ('the', 3, 'det'), ('left', 1, 'pobj'),
        ('of', 3, 'prep'), ('a', 6, 'det'), ('box', 4, 'pobj'),
    )  # fmt: skip
    assert find_relations(caption, [(0, 1), (5, 7)]) == [(0, 1, 'to the left of')]
    assert find_relations(caption, [(0, 1), (2, 4), (5, 7)]) == [(0, 1, 'to'), (1, 2, 'of')]
    # out of: a preposition under a preposition
    caption = tree(
        ('cat', 1, 'nsubj'), ('jumps', 1, 'ROOT', 'jump'), ('out', 1, 'prep'), ('of', 2, 'prep'),
        ('boxes', 3, 'pobj', 'box'),
    )  # fmt: skip
    assert find_relations(caption, [(0, 1), (4, 5)]) == [(0, 1, 'jump out of')]


def test_verbs():
    # A man and a boy put on hats while throwing the dog a ball .
    caption = tree(
        ('A', 1, 'det'), ('man', 5, 'nsubj'), ('and', 1, 'cc'), ('a', 4, 'det'), ('boy', 1, 'conj'),
        ('put', 5, 'ROOT'), ('on', 5, 'prt'), ('hats', 5, 'dobj', 'hat'), ('while', 9, 'mark'),
        ('throwing', 5, 'advcl', 'throw'), ('the', 11, 'det'), ('dog', 9, 'dative'),
        ('a', 13, 'det'), ('ball', 9, 'dobj'), ('.', 5, 'punct'),
    )  # fmt: skip
    spans = [(0, 2), (3, 5), (7, 8), (10, 12), (12, 14)]
    assert set(find_relations(caption, spans)) == {
        (0, 2, 'put on'), (1, 2, 'put on'), (0, 3, 'throw'), (1, 3, 'throw'), (0, 4, 'throw'),
        (1, 4, 'throw'),
    }  # fmt: skip


def test_verbs_that_describe_a_noun():
    # A woman wearing a hat who holds a bag is near a car .
    caption = tree(
        ('A', 1, 'det'), ('woman', 8, 'nsubj'), ('wearing', 1, 'acl', 'wear'), ('a', 4, 'det'),
        ('hat', 2, 'dobj'), ('who', 6, 'nsubj'), ('holds', 1, 'relcl', 'hold'),
        ('bags', 6, 'dobj', 'bag'), ('is', 8, 'ROOT', 'be'), ('near', 8, 'prep'),
        ('cars', 9, 'pobj', 'car'),
    )  # fmt: skip
    assert find_relations(caption, [(0, 2), (3, 5), (7, 8), (10, 11)]) == [
        (0, 1, 'wear'),
        (0, 2, 'hold'),
        (0, 3, 'near'),
    ]
    # the bag that a woman holds: the subject is its own.
    caption = tree(
        ('bag', 0, 'ROOT'), ('that', 3, 'dobj'), ('woman', 3, 'nsubj'),
        ('holds', 0, 'relcl', 'hold'), ('with', 3, 'prep'), ('gloves', 4, 'pobj', 'glove'),
    )  # fmt: skip
    assert find_relations(caption, [(0, 1), (2, 3), (5, 6)]) == [(1, 2, 'hold with')]


def test_passive_and_chains():
    # The ball is held by a boy who sits and eats in the sun
    caption = tree(
        ('ball', 2, 'nsubjpass'), ('is', 2, 'auxpass', 'be'), ('held', 2, 'ROOT', 'hold'),
        ('by', 2, 'agent'), ('boy', 3, 'pobj'), ('who', 6, 'nsubj'), ('sits', 4, 'relcl', 'sit'),
        ('and', 6, 'cc'), ('eats', 6, 'conj', 'eat'), ('in', 8, 'prep'), ('sun', 9, 'pobj'),
    )  # fmt: skip
    assert find_relations(caption, [(0, 1), (4, 5), (10, 11)]) == [
        (0, 1, 'hold by'),
        (1, 2, 'eat in'),
    ]


def test_the_head_of_a_phrase():
    assert head_token(MAN_IN_HAT, (0, 2)) == 1
    assert head_token(MAN_IN_HAT, (3, 5)) == 4
    assert head_token(MAN_IN_HAT, (0, 5)) == 1
    # A parse may join a phrase's words by something outside of it: the first is taken.
    assert head_token(tree(('x', 2, 'a'), ('y', 2, 'b'), ('z', 2, 'ROOT')), (0, 2)) == 0


@pytest.mark.parametrize(
    ('heads', 'problem'),
    [([1, 5], 'none of the 2'), ([1, 0], 'cycle'), ([1], 'as many heads')],
)
def test_no_tree(heads, problem):
    with pytest.raises(ValueError, match=problem):
        Dependencies(['a', 'b'], heads, ['x', 'y'])


def test_categories():
    words = ['in'] * 90 + ['stand in'] * 101 + ['sit in'] * 100 + ['ride'] * 150 + ['on'] * 100
    words += ['lean on'] * 1 + ['eat'] * 5
    predicates = choose_predicates(words)
    # Rare ones count for their preposition; "eat" has none.
    assert predicates.names == ['in', 'ride', 'on', 'stand in']
    assert predicates.counts == [190, 150, 101, 101]
    assert [predicates.of(word) for word in ('in', 'sit in', 'stand in', 'lean on', 'eat')] == [
        [0], [0], [3], [2], []
    ]  # fmt: skip
    # The counts are those of the categories that the relations get.
    given = [index for word in words for index in predicates.of(word)]
    assert [given.count(i) for i in range(4)] == predicates.counts
    assert choose_predicates(words, min_count=1000).names == []


def test_token_spans():
    assert token_spans('a man in a hat', [(2, 5), (9, 14)]) == [(1, 2), (3, 5)]


def test_spacy_docs():
    spacy = pytest.importorskip('spacy')
    from spacy.tokens import Doc

    doc = Doc(
        spacy.blank('en').vocab,
        words=['A', 'man', 'rides', 'a', 'horse', 'in', 'the', 'snow', '.'],
        heads=[1, 2, 2, 4, 2, 2, 7, 5, 2],
        deps=['det', 'nsubj', 'ROOT', 'det', 'dobj', 'prep', 'det', 'pobj', 'punct'],
        lemmas=['a', 'man', 'ride', 'a', 'horse', 'in', 'the', 'snow', '.'],
    )
    found = find_relations(spacy_dependencies(doc), [(0, 2), (3, 5), (6, 8)])
    assert found == [(0, 1, 'ride'), (0, 2, 'ride in')]


def test_the_spacy_parser_keeps_the_words(monkeypatch):
    spacy = pytest.importorskip('spacy')

    def load(name):
        nlp = spacy.blank('en')

        @spacy.Language.component('everything_depends_on_the_first')
        def attach(doc):
            for token in doc:
                token.head = doc[0]
                token.dep_ = 'ROOT' if token.i == 0 else 'dep'
            return doc

        nlp.add_pipe('everything_depends_on_the_first')
        assert name == 'my_model'
        return nlp

    monkeypatch.setattr(spacy, 'load', load)
    (first, second) = spacy_parser('my_model')(iter([["don't", 'a-b', '.'], ['x']]))
    assert first.words == ["don't", 'a-b', '.'] and first.heads == [0, 0, 0]
    assert first.lemmas == first.words and second.words == ['x']


def test_missing_model():
    pytest.importorskip('spacy')
    with pytest.raises(OSError, match='python -m spacy download no_such_model'):
        spacy_parser('no_such_model')


def test_missing_spacy(monkeypatch):
    monkeypatch.setitem(sys.modules, 'spacy', None)
    with pytest.raises(ImportError, match=r"pip install 'mmground\[nlp\]'"):
        spacy_parser()


def test_phrases_of_any_text():
    text = "The dog's ball,(red) near-by a T-shirt."
    asked = []

    def parse(captions):
        for words in captions:
            asked.append(words)
            # "ball" depends on "T-shirt", all else on "ball".
            heads = [4] * len(words)
            heads[4] = len(words) - 2
            deps = ['dep'] * len(words)
            yield Dependencies(words, heads, deps)

    spans = [(text.index(own), text.index(own) + len(own)) for own in ('ball', 'dog', 'a T-shirt')]
    with pytest.raises(ValueError, match='have a cycle'):
        related_phrases(text, spans, parse)
    words = ['The', 'dog', "'s", 'ball', ',', '(', 'red', ')', 'near-by', 'a', 'T-shirt', '.']
    assert asked == [words]

    def by_preposition(captions):
        (words,) = captions
        place = {word: index for index, word in enumerate(words)}
        heads = [place['ball']] * len(words)
        heads[place['a']] = place['T-shirt']
        heads[place['T-shirt']] = place['near-by']
        deps = ['dep'] * len(words)
        deps[place['near-by']], deps[place['T-shirt']] = 'prep', 'pobj'
        yield Dependencies(words, heads, deps)

    assert related_phrases(text, spans, by_preposition) == [(0, 2)]
    with pytest.raises(ValueError, match='overlap at character 9'):
        related_phrases(text, [(4, 14), (10 - 1, 12)], parse)
