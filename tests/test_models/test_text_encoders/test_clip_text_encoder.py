import pytest
import torch
from torch import nn

from mmground.models.text_encoders import CLIPTextEncoder
from mmground.models.text_encoders.clip_tokenizer import END_ID, START_ID
from mmground.registry import MODELS

SIZES = dict(hidden_size=16, num_layers=2, num_heads=2, embed_dim=6, max_length=8, max_positions=12)


@pytest.fixture(scope='module')
def encoder():
    torch.manual_seed(0)
    model = MODELS.build(dict(type='CLIPTextEncoder', **SIZES)).eval()
    for value in model.parameters():
        if value.ndim == 1:
            nn.init.normal_(value, mean=0.5, std=0.3)
    # Different enough for differences to show.
    nn.init.normal_(model.token_embedding.weight)
    nn.init.normal_(model.positional_embedding)
    return model


def test_features_and_their_places(encoder):
    texts = ['  A Red star', "the giraffes' necks"]
    with torch.no_grad():
        features = encoder(texts)
    assert features.pieces.shape == (2, 7, 16) and encoder.out_channels == 16
    assert features.sentence.shape == (2, 6) and encoder.sentence_channels == 6
    words = (['A', 'Red', 'star'], ['the', 'gira', 'ffes', "'", 'necks'])
    for text, valid, offsets, own in zip(
        texts, features.valid, features.offsets, words, strict=True
    ):
        assert [text[start:end] for start, end in offsets[valid].tolist()] == own
        assert (offsets[~valid] == 0).all()
    assert features.is_token.sum(1).tolist() == [5, 7]
    assert features.valid.sum(1).tolist() == [3, 5]
    assert not features.valid[:, 0].any()
    assert not features.truncated.any()
    found, phrase_index, _ = features.phrase_pieces(torch.tensor([[4, 12]]), torch.tensor([0]))
    assert torch.equal(found, features.pieces[0, 2:4]) and phrase_index.tolist() == [0, 0]


def test_equals_a_naive_transformer(encoder):
    """Piece by piece: a piece attends to what comes before it, and to itself."""
    model = CLIPTextEncoder(**SIZES).double()
    model.load_state_dict(encoder.state_dict())
    ids, lengths, *_ = model.tokenize(['a red star on grass'])
    x = model.token_embedding(ids[0]) + model.positional_embedding[: ids.shape[1]]
    for layer in model.transformer.resblocks:
        projected = layer.ln_1(x) @ layer.attn.in_proj_weight.T + layer.attn.in_proj_bias
        query, key, value = projected.chunk(3, -1)
        context = torch.zeros_like(x)
        for own in range(len(x)):
            for head in (slice(0, 8), slice(8, 16)):
                scores = key[: own + 1, head] @ query[own, head] / 8**0.5
                context[own, head] = scores.softmax(0) @ value[: own + 1, head]
        x = x + layer.attn.out_proj(context)
        hidden = layer.mlp.c_fc(layer.ln_2(x))
        x = x + layer.mlp.c_proj(hidden / (1 + torch.exp(-1.702 * hidden)))
    expected = model.ln_final(x)
    pieces, sentence = model.encode(ids, lengths)
    torch.testing.assert_close(pieces[0], expected)
    torch.testing.assert_close(sentence[0], expected[-1] @ model.text_projection)


def test_padding_changes_nothing(encoder):
    with torch.no_grad():
        alone = encoder(['a red star'])
        padded = encoder(['a red star', 'two blue rings on grass'])
    length = alone.pieces.shape[1]
    assert length < padded.pieces.shape[1]
    torch.testing.assert_close(padded.pieces[0, :length], alone.pieces[0])
    torch.testing.assert_close(padded.sentence[0], alone.sentence[0])
    assert not padded.is_token[0, length:].any() and not padded.valid[0, length:].any()


def test_a_piece_with_the_id_of_the_padding_is_a_piece(encoder):
    """In CLIP, 0 is both "!" within a word and the padding."""
    ids, lengths, *_ = encoder.tokenize(['!!!! a'])
    features = encoder(['!!!! a', 'a'])
    assert features.is_token.sum(1).tolist() == [lengths.item(), 3]
    assert features.is_token[0].all()
    # Whatever merges there are, the text ends where it ends.
    assert ids[0, -1] == END_ID


def test_the_sentence_is_at_the_end_of_the_text(encoder):
    """Also if the text names the token of the end."""
    text = 'a <end_of_text> star'
    ids, lengths, *_ = encoder.tokenize([text])
    assert ids[0].tolist().count(END_ID) == 2 and ids[0, 0] == START_ID
    with torch.no_grad():
        features = encoder([text])
    expected = features.pieces[0, lengths[0] - 1] @ encoder.text_projection
    torch.testing.assert_close(features.sentence[0], expected)


def test_an_empty_text_has_start_and_end(encoder):
    ids, lengths, offsets, truncated = encoder.tokenize([''])
    assert ids.tolist() == [[START_ID, END_ID]] and lengths.tolist() == [2]
    assert not offsets.any() and not truncated.any()
    assert encoder(['']).sentence.isfinite().all()


def test_truncated_texts_are_marked_and_told_once(monkeypatch):
    told = []
    monkeypatch.setattr(
        'mmground.models.text_encoders.clip_text_encoder.print_log',
        lambda message, **kwargs: told.append(message),
    )
    encoder = CLIPTextEncoder(**SIZES)
    assert encoder(['star ' * 6, 'star']).truncated.tolist() == [False, False]
    assert told == []
    cut = encoder(['star', 'star ' * 7])
    assert cut.truncated.tolist() == [False, True]
    assert cut.pieces.shape[1] == 8 and cut.valid[1].sum() == 6
    assert encoder.tokenize(['ring ' * 20])[0][0, -1] == END_ID
    assert encoder(['ring ' * 7]).truncated.tolist() == [True]
    (message,) = told
    assert 'star star' in message and 'more than 8 pieces' in message
    assert 'model.text_encoder.max_length' in message


def test_every_parameter_learns():
    encoder = CLIPTextEncoder(**SIZES)
    features = encoder(['a red star', 'two rings'])
    loss = features.pieces[features.is_token].pow(3).sum() + features.sentence.pow(3).sum()
    loss.backward()
    for name, value in encoder.named_parameters():
        assert value.grad.isfinite().all() and value.grad.any(), name
    # The rows of positions and pieces that did not occur get none.
    assert not encoder.positional_embedding.grad[5:].any()
    assert not encoder.token_embedding.weight.grad[0].any()


def test_initialisation_is_of_clips_scale():
    encoder = CLIPTextEncoder(hidden_size=64, num_layers=2, num_heads=2, embed_dim=32)
    layer = encoder.transformer.resblocks[0]
    for value, std in (
        (encoder.token_embedding.weight, 0.02),
        (encoder.positional_embedding, 0.01),
        (encoder.text_projection, 64**-0.5),
        (layer.attn.in_proj_weight, 64**-0.5),
        (layer.attn.out_proj.weight, 64**-0.5 / 2),
        (layer.mlp.c_fc.weight, 128**-0.5),
        (layer.mlp.c_proj.weight, 64**-0.5 / 2),
    ):
        assert value.std().item() == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize('length', [1, 13])
def test_lengths_that_do_not_fit(length):
    with pytest.raises(ValueError, match=rf'max_length \({length}\) must be 2.* to 12'):
        CLIPTextEncoder(**SIZES | dict(max_length=length))
