import logging
import sys

import numpy as np
import pytest
import torch
from data_factory import write_proposals

from mmground.datasets.word_vectors import WordVectors
from mmground.models.heads import SemanticSimilarity, semantic_similarity

WORDS = ['fire', 'truck', 'dog', 'man', 'hair']
PHRASES = [['a', 'dog'], ['truck', 'fire', 'dog'], [], ['unheard']]
LABELS, OWNER = torch.tensor([[0, 1], [1, 0]]), torch.tensor([0, 1, 0, 1])


@pytest.fixture
def vectors():
    return WordVectors(WORDS, np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32))


def test_both_forms_by_hand():
    words = torch.tensor([[[1.0, 2.0], [9.0, 9.0], [3.0, -2.0]]])
    known = torch.tensor([[True, False, True]])
    names = torch.tensor([[1.0, 1.0], [-1.0, -5.0]])
    found = semantic_similarity(words, known, names, 'paper')
    torch.testing.assert_close(found, torch.tensor([[2.0, -2.0]]))
    found = semantic_similarity(words, known, names)
    cosines = torch.cosine_similarity(words[0, [0, 2], None], names[None], dim=-1).mean(0)
    assert cosines[0] > 0 > cosines[1]
    torch.testing.assert_close(found, torch.stack((cosines[0], torch.tensor(0.0)))[None])
    assert not semantic_similarity(words, known & False, names).any()


@pytest.mark.parametrize('form', ['official', 'paper'])
def test_proposals_by_loops(vectors, form):
    similarity = SemanticSimilarity(form=form)
    similarity.use(vectors, ['fire truck', 'dog'])
    names = torch.tensor(np.stack([vectors.vectors[:2].mean(0), vectors.vectors[2]]))
    found = similarity(PHRASES, LABELS, OWNER)
    for i, words in enumerate(PHRASES):
        known = [torch.tensor(vectors.vectors[WORDS.index(w)]) for w in words if w in WORDS]
        for j in range(2):
            name = names[LABELS[OWNER[i], j]]
            if form == 'official':
                parts = [torch.cosine_similarity(own, name, dim=0) for own in known]
            else:
                parts = [own @ name for own in known]
            expected = sum(parts) / len(parts) if parts else torch.tensor(0.0)
            expected = expected.relu() if form == 'official' else expected
            torch.testing.assert_close(found[i, j], expected, atol=1e-6, rtol=1e-5)


def test_words_are_looked_up_at_once(vectors, monkeypatch):
    similarity = SemanticSimilarity()
    similarity.use(vectors, ['dog', 'man'])
    calls = []
    own = vectors.of
    monkeypatch.setattr(vectors, 'of', lambda words: calls.append(words) or own(words))
    similarity(PHRASES, LABELS, OWNER)
    assert calls == [['a', 'dog', 'truck', 'fire', 'dog', 'unheard']]
    # Names were made comparable when they were read.
    torch.testing.assert_close(similarity._categories.norm(dim=1), torch.ones(2))


def test_names_of_files(vectors, tmp_path):
    """As the files of names are read elsewhere: synonyms behind a comma, underscores."""
    path = str(tmp_path / 'vectors.npz')
    vectors.save(path)
    (tmp_path / 'names.txt').write_text('fire_truck\ndog,hound\n')
    for classes, words in (
        (str(tmp_path / 'names.txt'), [['fire', 'truck'], ['dog']]),
        (write_proposals(tmp_path / 'proposals.db', ['1']), [['man'], ['hair']]),
    ):
        similarity = SemanticSimilarity(path, classes, form='paper')
        found = similarity(words, torch.tensor([[0, 1]]), torch.tensor([0, 0]))
        own = torch.tensor(np.stack([vectors.of(own)[0].mean(0) for own in words]))
        torch.testing.assert_close(found, own @ own.T)


def test_categories_without_a_vector_are_named(vectors, monkeypatch):
    logged = []
    monkeypatch.setattr(
        sys.modules[SemanticSimilarity.__module__],
        'print_log',
        lambda message, **kwargs: logged.append((message, kwargs['level'])),
    )
    similarity = SemanticSimilarity()
    similarity.use(vectors, ['dog', 'unicorn', 'fire engine', 'yeti'])
    ((message, level),) = logged
    assert message.startswith('2 of 4 categories') and message.endswith(': unicorn, yeti')
    assert level == logging.WARNING
    similarity(PHRASES, LABELS, OWNER)
    similarity.use(vectors, ['dog', 'man'])
    assert len(logged) == 1
    with pytest.raises(ValueError, match=r"no name .*'unicorn', 'yeti'.* set model\.head\.simil"):
        similarity.use(vectors, ['unicorn', 'yeti'])
    assert similarity.names == ['dog', 'man']


def test_errors(vectors):
    with pytest.raises(ValueError, match='form must be'):
        SemanticSimilarity(form='other')
    with pytest.raises(RuntimeError, match=r'set model\.head\.similarity\.word_vectors'):
        SemanticSimilarity()(PHRASES, LABELS, OWNER)
    similarity = SemanticSimilarity()
    similarity.use(vectors, ['dog'])
    with pytest.raises(ValueError, match='the label 1, but there are 1 names'):
        similarity(PHRASES, LABELS, OWNER)
