import naive_layers as naive
import pytest
import torch

from mmground.models.heads import ProgressiveAlignment


def _build(norm_cfg=None, channels=8):
    torch.manual_seed(0)
    module = ProgressiveAlignment(channels, norm_cfg=norm_cfg)
    return naive.randomise_norms(module).eval()


def _maps(shape=(4, 3), channels=8):
    return torch.randn(2, 2, channels, *shape, generator=torch.Generator().manual_seed(1))


def _products(module, updated, previous):
    """What is normalised: three products, cell by cell."""
    parts = naive.conv(naive.conv(updated, module.proj), module.depthwise)
    quarter = len(updated) // 4
    parts = (parts[:quarter], parts[quarter : 3 * quarter], parts[3 * quarter :])
    filtered = naive.conv(previous, module.filter_proj) * parts[0]
    filtered = naive.conv(filtered, module.filter_convs[0]) * parts[1]
    return naive.conv(filtered, module.filter_convs[1]) * parts[2]


def test_by_hand():
    module, (updated, previous) = _build(dict(type='BN')), _maps()
    with torch.no_grad():
        result = module(updated, previous)
        for own, before, expected in zip(updated, previous, result, strict=True):
            normed = naive.batch_norm(_products(module, own, before), module.norm)
            torch.testing.assert_close(
                expected.double(), normed + before.double(), atol=1e-5, rtol=1e-5
            )


def test_switch_norm_is_the_default():
    module, (updated, previous) = _build(), _maps()
    with torch.no_grad():
        result = module(updated, previous)
        products = torch.stack(
            [_products(module, *own) for own in zip(updated, previous, strict=True)]
        )
        mean = torch.stack(
            [
                products.mean((2, 3)),
                products.mean((1, 2, 3))[:, None].expand(-1, 8),
                module.norm.running_mean.double().expand(2, -1),
            ]
        )
        var = torch.stack(
            [
                products.var((2, 3), correction=0),
                products.var((1, 2, 3), correction=0)[:, None].expand(-1, 8),
                module.norm.running_var.double().expand(2, -1),
            ]
        )
        weights = (module.norm.mean_weight, module.norm.var_weight)
        mean, var = (
            (own * weight.double().softmax(0)[:, None, None]).sum(0)[..., None, None]
            for own, weight in zip((mean, var), weights, strict=True)
        )
        affine = module.norm.weight.double(), module.norm.bias.double()
        scale, shift = (own[:, None, None] for own in affine)
        normed = (products - mean) / torch.sqrt(var + 1e-5) * scale + shift
        torch.testing.assert_close(result.double(), normed + previous, atol=1e-4, rtol=1e-4)


def test_size_at_the_width_of_the_paper():
    module = ProgressiveAlignment()
    assert module.widths == (256, 512, 1024)
    norm = sum(own.numel() for own in module.norm.parameters())
    assert sum(own.numel() for own in module.parameters()) - norm == 8_088_576
    maps = torch.randn(1, 1024, 5, 7)
    assert module(maps, maps).shape == maps.shape


def test_products_do_not_leave_the_range_of_half_precision():
    module = _build()
    # Their products are above 65504.
    updated, previous = (100 * maps for maps in _maps((6, 6)))
    seen = []
    module.filter_convs[1].register_forward_hook(lambda _, args, output: seen.append(args[0]))
    with torch.no_grad():
        expected = module(updated, previous)
        with torch.autocast('cpu', torch.float16):
            result = module(updated, previous)
    assert seen[0].abs().max() > 65504
    assert seen[1].dtype == result.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=0.02, atol=0.02 * expected.abs().max().item())


def test_variances_survive_three_products():
    """PyTorch's initialisation would leave less than the norm's epsilon."""
    torch.manual_seed(0)
    module = ProgressiveAlignment(64)
    seen = []
    module.norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    module(*torch.randn(2, 4, 64, 16, 16))
    assert 0.2 < seen[0].var() < 2


def test_channels_are_divisible():
    with pytest.raises(ValueError, match='divisible by 4, got 10'):
        ProgressiveAlignment(10)
