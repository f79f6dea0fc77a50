import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmground.models.backbones import CLIPResNet
from mmground.models.backbones.clip_resnet import Bottleneck, DenseAttentionPool
from mmground.registry import MODELS

SMALL = dict(width=8, blocks=(1, 1, 1, 1), attention_pool=dict(embed_dim=24, num_heads=4))


def _randomise(module):
    """Statistics, scales and shifts of which none is trivial."""
    for name, value in module.state_dict().items():
        if name.endswith('running_var'):
            value.uniform_(0.5, 1.5)
        elif value.ndim == 1:
            value.add_(torch.randn_like(value) * 0.3)
    return module.eval()


@pytest.mark.parametrize('size', [(64, 96), (32, 32), (70, 100)])
def test_maps(size):
    model = CLIPResNet(**SMALL)
    maps = model(torch.randn(2, 3, *size))
    for own, channels, stride in zip(maps, model.out_channels, (8, 16, 32), strict=True):
        assert own.shape == (2, channels, size[0] // stride, size[1] // stride)
    assert model.out_channels == (64, 128, 24)


def test_without_attention_pool():
    model = MODELS.build(dict(type='CLIPResNet', **SMALL | dict(attention_pool=None))).eval()
    images, kept = torch.randn(1, 3, 64, 64), []
    model.layer4.register_forward_hook(lambda *args: kept.append(args[-1]))
    *_, last = model(images)
    assert model.out_channels == (64, 128, 256)
    assert torch.equal(last, kept[0])
    assert not any('attnpool' in name for name in model.state_dict())


def test_presets():
    with torch.device('meta'):
        models = {depth: CLIPResNet(depth=depth) for depth in (50, 101)}
    for depth, (blocks, embed_dim) in {50: ((3, 4, 6, 3), 1024), 101: ((3, 4, 23, 3), 512)}.items():
        model = models[depth]
        stages = [model.layer1, model.layer2, model.layer3, model.layer4]
        assert tuple(map(len, stages)) == blocks
        assert model.out_channels == (512, 1024, embed_dim)
        assert model.attnpool.num_heads == 32


@pytest.mark.parametrize('stride', [1, 2])
def test_bottleneck(stride):
    """Layer by layer; the stride is a mean over squares."""
    block = _randomise(Bottleneck(12, 3, stride)).double()
    nn.init.normal_(block.bn3.weight)
    x = torch.randn(2, 12, 6, 8, dtype=torch.float64)

    def norm(x, bn):
        def column(value):
            return value[:, None, None]

        scaled = (x - column(bn.running_mean)) / column((bn.running_var + bn.eps).sqrt())
        return scaled * column(bn.weight) + column(bn.bias)

    def pool(x):
        return torch.stack(
            [
                torch.stack(
                    [
                        x[..., i : i + stride, j : j + stride].mean((-1, -2))
                        for j in range(0, x.shape[-1], stride)
                    ],
                    -1,
                )
                for i in range(0, x.shape[-2], stride)
            ],
            -2,
        )

    out = norm(torch.einsum('oc,bchw->bohw', block.conv1.weight[..., 0, 0], x), block.bn1).relu()
    out = norm(F.conv2d(out, block.conv2.weight, padding=1), block.bn2).relu()
    out = norm(torch.einsum('oc,bchw->bohw', block.conv3.weight[..., 0, 0], pool(out)), block.bn3)
    shortcut = x
    if stride > 1:
        conv, bn = block.downsample
        shortcut = norm(torch.einsum('oc,bchw->bohw', conv.weight[..., 0, 0], pool(x)), bn)
    torch.testing.assert_close(block(x), (out + shortcut).relu())
    assert (block.downsample is None) is (stride == 1)


@pytest.mark.parametrize('connect', [True, False])
def test_attention_pool(connect):
    """Cell by cell and head by head."""
    pool = _randomise(DenseAttentionPool(12, 5, num_heads=3, grid_size=2, connect=connect)).double()
    x = torch.randn(2, 12, 2, 2, dtype=torch.float64)
    # On a map of its own size, the embedding is as it is, row by row, without the first.
    embedding = pool.positional_embedding[1:]
    torch.testing.assert_close(pool.resized_embedding((2, 2)).flatten(1).T, embedding)
    ours, expected = pool(x), torch.empty(2, 5, 2, 2, dtype=torch.float64)
    for b in range(2):
        cells = [x[b, :, i, j] + embedding[2 * i + j] for i in range(2) for j in range(2)]
        for own, cell in enumerate(cells):
            heads = []
            for h in range(3):
                part = slice(4 * h, 4 * h + 4)
                query = pool.q_proj(cell)[part]
                scores = torch.stack([query @ pool.k_proj(key)[part] / 2 for key in cells])
                values = torch.stack([pool.v_proj(value)[part] for value in cells])
                heads.append(scores.softmax(0) @ values)
            out = pool.c_proj(torch.cat(heads))
            if connect:
                i, j = divmod(own, 2)
                out = (out + pool.connect(x[b : b + 1])[0, :, i, j]).relu()
            expected[b, :, own // 2, own % 2] = out
    torch.testing.assert_close(ours, expected)
    assert connect is not (ours < 0).any().item()


def test_the_embedding_of_another_grid_is_not_transposed():
    pool = DenseAttentionPool(1, 1, num_heads=1, grid_size=3)
    with torch.no_grad():
        pool.positional_embedding[1:, 0] = torch.arange(3).repeat_interleave(3).float()
    resized = pool.resized_embedding((5, 7))[0]
    assert resized.shape == (5, 7)
    torch.testing.assert_close(resized, resized[:, :1].expand(5, 7))
    assert (resized[1:] > resized[:-1]).all()


def test_the_embedding_is_resized_as_pytorch_does():
    pool = DenseAttentionPool(6, 1, num_heads=1, grid_size=3)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        ours = pool.resized_embedding((5, 4))
    assert ours.dtype == torch.float32
    grid = pool.positional_embedding[1:].T.unflatten(-1, (3, 3))
    theirs = F.interpolate(grid[None], (5, 4), mode='bicubic', align_corners=False)[0]
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn(6, 5, 4)
    gradients = [
        torch.autograd.grad((own * weights).sum(), pool.positional_embedding)[0]
        for own in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients)


def test_every_parameter_learns():
    model = CLIPResNet(**SMALL)
    images = torch.randn(2, 3, 64, 64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # The last normalisation of a block starts from zero, so what is before it learns from the
    # second step on.
    for _ in range(2):
        optimizer.zero_grad()
        sum(own.square().sum() for own in model(images)).backward()
        optimizer.step()
    gradients = {name: value.grad for name, value in model.named_parameters()}
    assert all(value.isfinite().all() for value in gradients.values())
    assert [name for name, value in gradients.items() if not value.any()] == []
    # The place of the mean, which is left out.
    assert not gradients['attnpool.positional_embedding'][0].any()


def test_bad_settings():
    for settings, message in (
        (dict(depth=18), r'one of \[50, 101\], got 18'),
        (dict(blocks=(1, 1, 1)), 'four numbers'),
        (dict(blocks=(1, 0, 1, 1)), 'four numbers'),
        (SMALL | dict(attention_pool=dict(num_heads=7)), '256 channels .* 7 heads'),
    ):
        with pytest.raises(ValueError, match=message):
            CLIPResNet(**settings)


def test_a_batch_is_its_images():
    model = _randomise(CLIPResNet(**SMALL))
    images = torch.randn(3, 3, 64, 32)
    with torch.no_grad():
        whole = model(images)
        alone = model(images[1:2].contiguous(memory_format=torch.channels_last))
    for own, single in zip(whole, alone, strict=True):
        torch.testing.assert_close(own[1:2], single, rtol=1e-4, atol=1e-5)
