import pytest
import torch
from mmengine.runner.checkpoint import load_checkpoint
from small_ppmn import write_vocabulary

from mmground.models.text_encoders import BertEncoder

SIZES = dict(
    vocab_size=20,
    hidden_size=24,
    num_layers=2,
    num_heads=2,
    intermediate_size=24,
    max_positions=32,
    max_length=12,
)


@pytest.fixture
def encoder(tmp_path):
    return BertEncoder(write_vocabulary(tmp_path / 'vocab.txt'), **SIZES).eval()


def test_offsets_point_into_the_original_text(encoder):
    texts = ['A  Red star.', 'two rings']
    features = encoder(texts)
    assert features.pieces.shape == (2, 6, 24)
    for text, valid, offsets, words in zip(
        texts,
        features.valid,
        features.offsets,
        (['A', 'Red', 'star', '.'], ['two', 'ring', 's']),
        strict=True,
    ):
        found = [text[start:end] for start, end in offsets[valid].tolist()]
        assert found == words
        assert (offsets[~valid] == 0).all()


def test_special_tokens_in_a_text_are_plain_characters(encoder):
    ids, _, special, *_ = encoder.tokenize(['a [SEP] star'])
    assert special[0].tolist() == [1, 0, 0, 0, 0, 0, 1]
    assert ids[0, 2:5].tolist() == [1, 1, 1]  # the small vocabulary has none of "[", "sep", "]"


def test_padding_changes_nothing(encoder):
    with torch.no_grad():
        alone = encoder(['a red star'])
        padded = encoder(['a red star', 'two blue rings on the grass .'])
    length = alone.pieces.shape[1]
    torch.testing.assert_close(padded.pieces[0, :length], alone.pieces[0])
    assert not padded.valid[0, length:].any()


def test_long_texts_are_cut(encoder):
    features = encoder(['star ' * 40])
    assert features.pieces.shape[1] == 12
    assert features.valid.sum() == 10


def test_a_checkpoint_carries_the_vocabulary(encoder, tmp_path):
    path = tmp_path / 'encoder.pth'
    torch.save(dict(state_dict=encoder.state_dict()), path)
    bare = BertEncoder(str(tmp_path / 'nowhere.txt'), **SIZES).eval()
    with pytest.raises(RuntimeError, match=r'nowhere\.txt'):
        bare(['a red star'])
    load_checkpoint(bare, str(path), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(bare(['a red star']).pieces, encoder(['a red star']).pieces)
    torch.testing.assert_close(bare.state_dict()['vocab'], encoder.state_dict()['vocab'])


def test_weights_without_vocabulary_keep_the_own_one(encoder):
    weights = {name: value for name, value in encoder.state_dict().items() if name != 'vocab'}
    encoder.load_state_dict(weights, strict=True)
    assert encoder(['a red star']).valid.sum() == 3


def test_vocabulary_errors(tmp_path):
    with pytest.raises(ValueError, match='vocab_size'):
        BertEncoder(write_vocabulary(tmp_path / 'vocab.txt'), **{**SIZES, 'vocab_size': 4})
    wrong = tmp_path / 'wrong.txt'
    wrong.write_text('a\nb\n')
    with pytest.raises(ValueError, match='no WordPiece vocabulary'):
        BertEncoder(str(wrong), **SIZES)
    with pytest.raises(ValueError, match='positions'):
        BertEncoder(vocab_size=10, max_positions=8, max_length=9)


def test_tokens_are_all_but_the_padding(encoder):
    features = encoder(['a red star', 'star'])
    assert features.is_token.sum(1).tolist() == [5, 3]
    assert features.valid.sum(1).tolist() == [3, 1]
    assert features.is_token[:, 0].all() and not features.valid[:, 0].any()


def test_truncated_texts_are_marked_and_told_once(encoder, monkeypatch):
    told = []
    monkeypatch.setattr(
        'mmground.models.text_encoders.bert_encoder.print_log',
        lambda message, **kwargs: told.append(message),
    )
    assert encoder(['star ' * 10, 'star']).truncated.tolist() == [False, False]
    assert told == []
    assert encoder(['star', 'star ' * 11]).truncated.tolist() == [False, True]
    assert encoder(['ring ' * 12]).truncated.tolist() == [True]
    (message,) = told
    assert 'star star' in message and 'more than 12 word pieces' in message
    assert 'model.text_encoder.max_length' in message
