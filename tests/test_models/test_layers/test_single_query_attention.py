import math

import pytest
import torch

from mmground.models.layers.single_query_attention import SingleQueryAttention, SplitHeadAttention

FORMS = (SingleQueryAttention, SplitHeadAttention)


@pytest.mark.parametrize(('channels', 'num_heads', 'num_keys'), [(32, 8, 5), (12, 1, 1)])
def test_equals_torch_multi_head_attention(channels, num_heads, num_keys):
    attention = SingleQueryAttention(channels, num_heads).double()
    torch.nn.init.normal_(attention.attn.in_proj_bias)
    torch.nn.init.normal_(attention.attn.out_proj.bias)
    query = torch.randn(7, channels, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(7, num_keys, channels, dtype=torch.float64, requires_grad=True)
    expected, expected_weights = attention.attn(
        query[:, None], keys, keys, average_attn_weights=False
    )
    output = attention(query, keys)
    torch.testing.assert_close(output, expected[:, 0])
    torch.testing.assert_close(attention.attention_weights(query, keys), expected_weights[:, :, 0])
    weights = torch.randn_like(output)
    gradients = torch.autograd.grad((output * weights).sum(), (query, keys))
    expected = torch.autograd.grad((expected[:, 0] * weights).sum(), (query, keys))
    torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize(
    ('channels', 'num_heads', 'scale_channels'), [(32, 8, None), (12, 3, 12), (5, 1, None)]
)
def test_split_heads_equal_the_equations(channels, num_heads, scale_channels):
    """Eqs. 12-13: slice, project, attend, concatenate."""
    attention = SplitHeadAttention(channels, num_heads, scale_channels).double()
    query = torch.randn(7, channels, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(7, 6, channels, dtype=torch.float64, requires_grad=True)
    width = channels // num_heads
    rows, expected_weights = [], torch.empty(7, num_heads, 6, dtype=torch.float64)
    for n in range(7):
        heads = []
        for d in range(num_heads):
            own = slice(d * width, (d + 1) * width)
            w5, w6, w7 = attention.in_proj_weight[:, d]
            q, k, v = query[n, own] @ w5, keys[n, :, own] @ w6, keys[n, :, own] @ w7
            scores = [q.dot(key).exp() for key in k / math.sqrt(scale_channels or width)]
            heads.append(sum(s * value for s, value in zip(scores, v, strict=True)) / sum(scores))
            expected_weights[n, d] = (torch.stack(scores) / sum(scores)).detach()
        rows.append(torch.cat(heads))
    expected = torch.stack(rows)
    output = attention(query, keys)
    torch.testing.assert_close(output, expected)
    with torch.no_grad():
        weights = attention.attention_weights(query, keys)
    torch.testing.assert_close(weights, expected_weights)
    inputs = (query, keys, attention.in_proj_weight)
    weights = torch.randn_like(output)
    gradients = torch.autograd.grad((output * weights).sum(), inputs)
    torch.testing.assert_close(gradients, torch.autograd.grad((expected * weights).sum(), inputs))


def test_split_heads_keep_to_their_slice():
    attention = SplitHeadAttention(12, 3)
    query, keys = torch.randn(2, 12), torch.randn(2, 5, 12)
    before = attention(query, keys)
    query[:, 4:8] += 1
    keys[..., 4:8] -= 1
    changed = (attention(query, keys) != before).all(0)
    assert changed.tolist() == [False] * 4 + [True] * 4 + [False] * 4
    assert [(name, tuple(w.shape)) for name, w in attention.state_dict().items()] == [
        ('in_proj_weight', (3, 3, 4, 4))
    ]
    # Xavier's bound of a 4 x 4 matrix.
    assert 0.6 < attention.in_proj_weight.abs().max() <= math.sqrt(6 / 8)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('scale_channels', [None, 10])
def test_heads_must_divide_the_channels(form, scale_channels):
    with pytest.raises(ValueError, match='10 channels'):
        form(10, 4, scale_channels)


@pytest.mark.parametrize('form', FORMS)
def test_softmax_is_in_float32_under_autocast(monkeypatch, form):
    torch.manual_seed(0)
    attention = form(16, 2)
    query, keys = 3 * torch.randn(5, 16), 3 * torch.randn(5, 40, 16)
    exact = attention(query, keys)
    dtypes = []
    softmax = torch.Tensor.softmax

    def recorded(*args, **kwargs):
        weights = softmax(*args, **kwargs)
        dtypes.append(weights.dtype)
        return weights

    monkeypatch.setattr(torch.Tensor, 'softmax', recorded)
    with torch.autocast('cpu', torch.bfloat16):
        mixed = attention(query, keys)
    assert dtypes == [torch.float32]
    assert mixed.dtype == torch.bfloat16
    error = (mixed.float() - exact).norm() / exact.norm()
    assert error < 0.05
