import json

import pytest
import torch

from mmground.models.text_encoders import WordRNNEncoder, WordVocabulary
from mmground.models.text_encoders.word_vocabulary import split_words

WORDS = ['a', 'man', 'throws', 'frisbee']


@pytest.fixture
def vocab_file(tmp_path):
    path = tmp_path / 'words.txt'
    path.write_text('\n'.join(WORDS) + '\n')
    return str(path)


def _encoder(vocab_file, **kwargs):
    torch.manual_seed(0)
    return WordRNNEncoder(vocab_file, embed_channels=6, channels=8, **kwargs).eval()


@pytest.mark.parametrize('rnn', ['gru', 'lstm'])
def test_states_are_those_of_each_text_alone(vocab_file, rnn):
    encoder = _encoder(vocab_file, rnn=rnn)
    texts = ['A  Man throws a frisbee', 'frisbee', '']
    with torch.no_grad():
        found = encoder(texts)
        for row, ids in enumerate(([1, 2, 3, 1, 4], [4])):
            states = encoder.rnn(encoder.embedding(torch.tensor([ids])))[0][0]
            torch.testing.assert_close(found.pieces[row, : len(ids)], states)
            embeddings = encoder.embedding.weight[ids]
            assert torch.equal(found.embeddings[row, : len(ids)], embeddings)
    assert found.valid.sum(1).tolist() == [5, 1, 0]
    assert found.offsets[0, :2].tolist() == [[0, 1], [3, 6]]
    assert not found.truncated.any()
    features, _, place = found.phrase_pieces(torch.tensor([[0, 6]]), torch.tensor([0]))
    assert place.tolist() == [0, 1]
    assert torch.equal(features, found.pieces[0, :2])


def _log_of(module, monkeypatch):
    said = []
    monkeypatch.setattr(
        f'mmground.models.text_encoders.{module}.print_log', lambda text, **_: said.append(text)
    )
    return said


def test_unknown_words_are_zeros_and_said_once(vocab_file, monkeypatch):
    said = _log_of('word_rnn_encoder', monkeypatch)
    encoder = _encoder(vocab_file)
    found = encoder(['a cat'])
    assert found.valid[0].tolist() == [True, True]
    assert found.embeddings[0, 0].any()
    assert not found.embeddings[0, 1].any()
    encoder(['a dog'])
    assert len(said) == 1 and "'cat' of the text 'a cat'" in said[0]


def test_a_checkpoint_carries_the_vocabulary(vocab_file):
    encoder = _encoder(vocab_file, extra_words=['relate'])
    assert len(encoder.embedding.weight) == 6
    state = encoder.state_dict()
    other = _encoder(None)
    weight = other.embedding.weight
    with pytest.raises(RuntimeError, match=r'no vocabulary: set model\.text_encoder\.vocab_file'):
        other(['a man'])
    assert not any(other.load_state_dict(state, strict=True))
    # The same parameter, so that an optimizer that has it goes on.
    assert other.embedding.weight is weight
    with torch.no_grad():
        assert torch.equal(other(['a relate']).pieces, encoder(['a relate']).pieces)
    del state['vocabulary.vocab']
    assert not any(encoder.load_state_dict(state, strict=True))
    assert encoder.vocabulary.lookup(['relate', 'man', 'x']) == [5, 2, 0]


def test_another_vocabulary_of_a_checkpoint_is_said(vocab_file, tmp_path, monkeypatch):
    said = _log_of('word_vocabulary', monkeypatch)
    other = tmp_path / 'other.txt'
    other.write_text('a\ncat\n')
    encoder = _encoder(str(other))
    for source, count in ((str(other), 0), (None, 0), (vocab_file, 1)):
        if source is not None:
            encoder.load_state_dict(_encoder(source).state_dict())
        assert len(said) == count
    assert f'the 2 words of vocab_file ({other}) give way to the 4' in said[0].replace(
        encoder.vocabulary.setting, 'vocab_file'
    )


def test_extra_words_that_the_file_has(vocab_file):
    words = WordVocabulary(vocab_file, ['relate', WORDS[1]])
    assert words.lookup([*WORDS, 'relate']) == [1, 2, 3, 4, 5]


def test_files_of_words(tmp_path):
    path = tmp_path / 'words.json'
    path.write_text(json.dumps(WORDS))
    assert len(WordVocabulary(str(path))) == 4
    for content, message in (
        ('{"a": 1}', 'no list of words'),
        ('[]', 'no list of words'),
        ('["a b"]', "'a b' is none"),
        ('[1]', '1 is none'),
        ('["a", "b", "a"]', "has the word 'a' twice"),
        ('nothing', 'is no JSON'),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            WordVocabulary(str(path))
    assert split_words(' A b\n') == [('a', (1, 2)), ('b', (3, 4))]
    with pytest.raises(ValueError, match='rnn must be'):
        WordRNNEncoder(rnn='rnn')


def test_punctuation_is_parted_from_words_that_are_unknown(tmp_path):
    path = tmp_path / 'words.txt'
    path.write_text('frisbee\nu.s.\n.\n')
    text = 'A "red (frisbee), U.S. ... .'
    found = WordVocabulary(str(path)).split(text)
    assert [word for word, _ in found] == [
        *('a', '"', 'red', '(', 'frisbee', '),'),
        *('u.s.', '...', '.'),
    ]
    assert all(text[start:end].lower() == word for word, (start, end) in found)
