import math

import pytest
import torch
import torch.nn.functional as F

from mmground.models.layers.single_query_attention import SplitHeadAttention
from mmground.registry import MODELS

AGGREGATIONS = {
    'MCA': dict(type='MCA', num_heads=4),
    'MCA of split heads': dict(type='MCA', num_heads=4, split_heads=True),
    'MUTAN': dict(type='MUTAN', factor_channels=6, fused_channels=5, rank=2),
    'SKNet': dict(type='SKNet'),
}


def _build(name, **changes):
    part = MODELS.build(dict(channels=16, ffn_channels=8, **AGGREGATIONS[name], **changes))
    for norm in part.children():
        if isinstance(norm, torch.nn.LayerNorm):
            torch.nn.init.normal_(norm.weight)
            torch.nn.init.normal_(norm.bias)
    return part.double()


def _layer_norm(x, norm):
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * norm.weight + norm.bias


def _ffn(x, ffn):
    first, second = ffn.layers[0][0], ffn.layers[1]
    return second.weight @ torch.relu(first.weight @ x + first.bias) + second.bias


@pytest.mark.parametrize('norm_order', ['post', 'sandwich', 'double_residual'])
@pytest.mark.parametrize('name', AGGREGATIONS)
def test_norm_order(name, norm_order):
    """The code's, PPMN's Eqs. 14-15 and DRMN's Eqs. 15-16, around every aggregation."""
    part = _build(name, norm_order=norm_order)
    queries = torch.randn(3, 16, dtype=torch.float64)
    context = torch.randn(3, 5, 16, dtype=torch.float64)
    aggregated = part.attention(queries, context)
    output = part(queries, context)
    for n in range(3):
        a = aggregated[n] + queries[n]
        if norm_order == 'post':
            a = _layer_norm(a, part.attention_norm)
            expected = _layer_norm(a + _ffn(a, part.ffn), part.ffn_norm)
        elif norm_order == 'double_residual':
            expected = _ffn(_layer_norm(queries[n] + a, part.attention_norm), part.ffn)
        else:
            inner = _ffn(_layer_norm(a, part.attention_norm), part.ffn)
            expected = _layer_norm(inner, part.ffn_norm) + a
        torch.testing.assert_close(output[n], expected)


@pytest.mark.parametrize(('scale', 'divisor'), [('head', math.sqrt(4)), ('all', math.sqrt(16))])
def test_scale_of_the_attention(scale, divisor):
    attention = _build('MCA', scale=scale).attention
    queries = torch.randn(3, 16, dtype=torch.float64)
    context = torch.randn(3, 5, 16, dtype=torch.float64)
    to_q, to_k, to_v = attention.attn.in_proj_weight.chunk(3)
    output = attention(queries, context)
    for n in range(3):
        q, k, v = to_q @ queries[n], context[n] @ to_k.T, context[n] @ to_v.T
        heads = []
        for d in range(4):
            own = slice(4 * d, 4 * d + 4)
            weights = F.softmax(k[:, own] @ q[own] / divisor, dim=0)
            heads.append(weights @ v[:, own])
        expected = attention.attn.out_proj.weight @ torch.cat(heads)
        torch.testing.assert_close(output[n], expected)


@pytest.mark.parametrize(('scale', 'channels'), [('head', 4), ('all', 16)])
def test_split_heads(scale, channels):
    """Eq. 13; tests of the layer compare its values with the equations."""
    attention = _build('MCA of split heads', scale=scale).attention
    assert isinstance(attention, SplitHeadAttention)
    assert attention.num_heads == 4
    assert attention.scale_channels == channels


@pytest.mark.parametrize('name', AGGREGATIONS)
def test_all_parameters_and_inputs_get_gradients(name):
    part = _build(name)
    queries = torch.randn(3, 16, dtype=torch.float64, requires_grad=True)
    context = torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)
    (part(queries, context) * torch.randn(3, 16)).sum().backward()
    for tensor in (queries, context, *part.parameters()):
        assert tensor.grad.isfinite().all() and tensor.grad.any()


@pytest.mark.parametrize('name', AGGREGATIONS)
def test_queries_without_pixels_in_the_batch(name):
    output = _build(name)(
        torch.zeros(0, 16, dtype=torch.float64), torch.zeros(0, 5, 16, dtype=torch.float64)
    )
    assert output.shape == (0, 16)


def test_the_default_is_the_official_form():
    part = MODELS.build(dict(type='MCA', channels=16, num_heads=4))
    assert part.norm_order == 'post'
    assert part.attention.scale_channels == 4
    assert sorted({name.split('.')[0] for name in part.state_dict()}) == [
        'attention',
        'attention_norm',
        'ffn',
        'ffn_norm',
    ]
    assert sorted(part.attention.state_dict()) == [
        'attn.in_proj_bias',
        'attn.in_proj_weight',
        'attn.out_proj.bias',
        'attn.out_proj.weight',
    ]


def test_dropout_of_the_residual():
    part = _build('MCA', norm_order='double_residual', dropout=0.5).train()
    queries = torch.randn(3, 16, dtype=torch.float64)
    context = torch.randn(3, 5, 16, dtype=torch.float64)
    assert not torch.equal(part(queries, context), part(queries, context))
    part.eval()
    assert torch.equal(part(queries, context), part(queries, context))


def test_unknown_forms():
    with pytest.raises(ValueError, match=r"norm_order must be one of .*'sandwich'.*got 'pre'"):
        _build('SKNet', norm_order='pre')
    with pytest.raises(ValueError, match="scale must be 'head' or 'all', got 'none'"):
        _build('MCA', scale='none')
