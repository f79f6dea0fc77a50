import pytest
import torch
import torch.nn.functional as F

from mmground.models.layers.deform_layer import DeformLayer

SHAPES = [(4, 6), (2, 3)]
AREA = 30


def _layer(**kwargs):
    torch.manual_seed(0)
    layer = DeformLayer(
        16, num_heads=4, num_levels=2, num_points=2, feedforward_channels=24, **kwargs
    )
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return layer


def _inputs(queries=5):
    torch.manual_seed(1)
    return torch.randn(2, queries, 16), torch.randn(2, AREA, 16), torch.rand(2, queries, 2)


def _norm(norm, feats):
    feats = feats - feats.mean(-1, keepdim=True)
    feats = feats / (feats.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return feats * norm.weight + norm.bias


def _ffn(layer, feats):
    weights = dict(layer.ffn.named_parameters())
    hidden = feats @ weights['layers.0.0.weight'].T + weights['layers.0.0.bias']
    return F.relu(hidden) @ weights['layers.1.weight'].T + weights['layers.1.bias']


@pytest.mark.parametrize('ffn_residual', [True, False])
@pytest.mark.parametrize('residual', ['identity', 'query', 'attention'])
def test_equations(residual, ffn_residual):
    layer = _layer(residual=residual, ffn_residual=ffn_residual).eval()
    query, memory, points = _inputs()
    identity = torch.randn(2, 1, 16) if residual == 'identity' else None
    result = layer(query, memory, points, SHAPES, identity=identity)
    found = layer.attention(query, memory, points, SHAPES)
    base = dict(identity=identity, query=query, attention=found)[residual]
    inner = _norm(layer.attention_norm, base + found)
    expected = _ffn(layer, inner)
    if ffn_residual:
        expected = _norm(layer.ffn_norm, inner + expected)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_memory_can_be_projected_before():
    layer = _layer(residual='query').eval()
    query, memory, points = _inputs()
    mask = torch.rand(2, AREA) > 0.5
    raw = layer(query, memory, points, SHAPES, padding_mask=mask)
    value = layer.attention.project_value(memory, mask)
    torch.testing.assert_close(layer(query, value, points, SHAPES), raw)


def test_dropout_is_in_attention_and_ffn():
    """With all dropped, the identity goes on through the two normalisations alone."""
    layer = _layer(dropout=1.0).train()
    query, memory, points = _inputs()
    identity = torch.randn(2, 5, 16)
    result = layer(query, memory, points, SHAPES, identity=identity)
    expected = _norm(layer.ffn_norm, _norm(layer.attention_norm, identity))
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_initialisation_is_the_ring_and_xavier():
    layer = DeformLayer(64, num_heads=4, num_levels=2, feedforward_channels=128)
    layer.init_weights()
    assert not layer.attention.sampling_offsets.weight.any()
    assert layer.attention.sampling_offsets.bias.any()
    assert not layer.attention.attention_weights.weight.any()
    for weight in (layer.ffn.layers[0][0].weight, layer.ffn.layers[1].weight):
        bound = (6 / (64 + 128)) ** 0.5
        assert 0.95 * bound < weight.abs().max() <= bound


def test_an_identity_without_use_is_an_error():
    query, memory, points = _inputs()
    with pytest.raises(ValueError, match="residual='query', but an identity was"):
        _layer(residual='query')(query, memory, points, SHAPES, identity=query)
    with pytest.raises(ValueError, match='no identity was'):
        _layer()(query, memory, points, SHAPES)
    with pytest.raises(ValueError, match='must be one of'):
        _layer(residual='value')
