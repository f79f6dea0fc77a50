import naive_layers as naive
import pytest
import torch

from mmground.models.heads import LSRAN

BRANCHES = [
    dict(kernel_size=1, dilation=1),
    dict(kernel_size=3, dilation=1),
    dict(kernel_size=3, dilation=2),
    dict(kernel_size=3, dilation=3),
]


def _build(**settings):
    torch.manual_seed(0)
    settings = dict(channels=8, window_size=3, num_heads=2, branches=BRANCHES) | settings
    module = LSRAN(**settings)
    torch.nn.init.normal_(module.attention.w_msa.relative_position_bias_table)
    return naive.randomise_norms(module).eval()


def _window_attention(cells, window_size, layer):
    """Of each window alone; cells that a window has beyond the map are zeros."""
    height, width, channels = cells.shape
    positions = [(y, x) for y in range(window_size) for x in range(window_size)]
    count = len(positions)
    bias = torch.empty(layer.num_heads, count, count, dtype=torch.float64)
    side = 2 * window_size - 1
    for n, (y, x) in enumerate(positions):
        for m, (row, column) in enumerate(positions):
            place = (y - row + window_size - 1) * side + x - column + window_size - 1
            bias[:, n, m] = layer.relative_position_bias_table[place].double()
    out = torch.zeros_like(cells)
    for top in range(0, height, window_size):
        for left in range(0, width, window_size):
            window = torch.zeros(count, channels, dtype=torch.float64)
            for n, (y, x) in enumerate(positions):
                if top + y < height and left + x < width:
                    window[n] = cells[top + y, left + x]
            queries, keys, values = naive.linear(window, layer.qkv.weight, layer.qkv.bias).chunk(
                3, dim=1
            )
            found = naive.attention(queries, keys, values, layer.num_heads, bias=bias)
            found = naive.linear(found, layer.proj.weight, layer.proj.bias)
            for n, (y, x) in enumerate(positions):
                if top + y < height and left + x < width:
                    out[top + y, left + x] = found[n]
    return out


@pytest.mark.parametrize('shape', [(6, 3), (4, 5)])
def test_by_hand(shape):
    module, (height, width) = _build(), shape
    fused = torch.randn(2, 8, height, width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        result = module(fused)
        for own, expected in zip(fused, result, strict=True):
            cells = naive.tokens(own).double()
            normed = naive.layer_norm(cells, module.attention_norm).reshape(height, width, 8)
            read = _window_attention(normed, 3, module.attention.w_msa).reshape(-1, 8)
            objects = naive.as_map(cells + read, height, width)
            branches = [naive.conv_module(objects, branch) for branch in module.branches]
            assert [len(branch) for branch in branches] == [2] * 4
            relations = naive.conv_module(torch.cat(branches), module.mixing)
            gated = relations * naive.conv_module(own, module.gate)
            torch.testing.assert_close(expected.double(), gated, atol=1e-5, rtol=1e-5)


def test_the_default_reaches_far():
    with torch.device('meta'):
        module = LSRAN()
    convs = [branch.conv for branch in module.branches]
    assert [(conv.kernel_size[0], conv.dilation[0]) for conv in convs] == [
        (1, 1),
        (3, 6),
        (3, 12),
        (3, 18),
    ]
    assert all(conv.out_channels == 256 for conv in convs)
    assert module.attention.window_size == 13
    assert module(torch.empty(1, 1024, 52, 52, device='meta')).shape == (1, 1024, 52, 52)
    # Windows of a map that they tile, and relations of 18 cells.
    small = _build(window_size=13, branches=[dict(kernel_size=3, dilation=18)], channels=4)
    maps = torch.zeros(1, 4, 52, 52, requires_grad=True)
    small(maps)[0, :, 26, 26].sum().backward()
    rows, columns = maps.grad[0].abs().sum(0).nonzero().unbind(1)
    assert (rows.min(), rows.max()) == (0, 51) and (columns.min(), columns.max()) == (0, 51)


@pytest.mark.parametrize('branches', [BRANCHES[:3], []])
def test_branches_share_the_channels(branches):
    with pytest.raises(ValueError, match=f'{len(branches)} branches cannot share 8 channels'):
        _build(branches=branches)
