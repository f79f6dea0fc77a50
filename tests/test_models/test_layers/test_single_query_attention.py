import pytest
import torch

from mmground.models.layers.single_query_attention import SingleQueryAttention


@pytest.mark.parametrize(('channels', 'num_heads', 'num_keys'), [(32, 8, 5), (12, 1, 1)])
def test_equals_torch_multi_head_attention(channels, num_heads, num_keys):
    attention = SingleQueryAttention(channels, num_heads).double()
    torch.nn.init.normal_(attention.attn.in_proj_bias)
    torch.nn.init.normal_(attention.attn.out_proj.bias)
    query = torch.randn(7, channels, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(7, num_keys, channels, dtype=torch.float64, requires_grad=True)
    expected, _ = attention.attn(query[:, None], keys, keys)
    output = attention(query, keys)
    torch.testing.assert_close(output, expected[:, 0])
    weights = torch.randn_like(output)
    gradients = torch.autograd.grad((output * weights).sum(), (query, keys))
    expected = torch.autograd.grad((expected[:, 0] * weights).sum(), (query, keys))
    torch.testing.assert_close(gradients, expected)


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match='10 channels'):
        SingleQueryAttention(10, 4)


def test_softmax_is_in_float32_under_autocast(monkeypatch):
    torch.manual_seed(0)
    attention = SingleQueryAttention(16, 2)
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
