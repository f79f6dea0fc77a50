import math

import pytest
import torch
import torch.nn.functional as F

from mmground.models.necks import SemanticFPN


def _levels(channels, size=32):
    return [torch.randn(2, channels, size >> level, size >> level) for level in range(4)]


def _naive_block(block, feats):
    weight, bias = block.conv.weight, block.conv.bias
    feats = F.conv2d(feats, weight, bias, stride=block.conv.stride, padding=block.conv.padding)
    return F.relu(F.group_norm(feats, block.gn.num_groups, block.gn.weight, block.gn.bias))


def _naive_encoding(channels, height, width):
    half = channels // 2
    encoding = torch.zeros(channels, height, width)
    for row in range(height):
        for column in range(width):
            for offset, place in ((0, (row + 1) / height), (half, (column + 1) / width)):
                for k in range(half):
                    angle = 2 * math.pi * place / 10000 ** (2 * (k // 2) / half)
                    value = math.cos(angle) if k % 2 else math.sin(angle)
                    encoding[offset + k, row, column] = value
    return encoding


@pytest.mark.parametrize('out_stride', [4, 8])
def test_matches_a_naive_computation(out_stride):
    neck = SemanticFPN(8, 8, out_stride=out_stride, norm_cfg=dict(type='GN', num_groups=2))
    levels = _levels(8)
    (feats,) = neck(levels)
    total = 0
    for index, (branch, level) in enumerate(zip(neck.branches, levels, strict=True)):
        if index == 3:
            level = level + _naive_encoding(8, *level.shape[-2:])
        blocks = [block for block in branch if hasattr(block, 'conv')]
        level = _naive_block(blocks[0], level)
        for block in blocks[1:]:
            level = level.repeat_interleave(2, -1).repeat_interleave(2, -2)
            level = _naive_block(block, level)
        total = total + level
    torch.testing.assert_close(feats, _naive_block(neck.out_conv, total), atol=1e-4, rtol=1e-4)
    assert feats.shape[-1] == 32 * 4 // out_stride


def test_the_encoding_can_be_left_out():
    neck = SemanticFPN(8, 8, positional_encoding=False, norm_cfg=dict(type='GN', num_groups=2))
    flat = [torch.ones_like(level) for level in _levels(8, size=64)]
    (feats,) = neck(flat)
    # Away from the borders nothing tells one place from another.
    inner = feats[:, :, 8:-8, 8:-8]
    torch.testing.assert_close(inner, inner[:, :, :1, :1].expand_as(inner))


def test_strides_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match='powers of two'):
        SemanticFPN(8, 8, strides=(4, 8, 16, 32), out_stride=16)


def test_without_the_last_convolution_and_with_its_levels():
    """As in the official DRMN, with two levels of the output's stride."""
    neck = SemanticFPN(
        8,
        8,
        (8, 8, 16, 32),
        out_conv=False,
        keep_levels=True,
        norm_cfg=dict(type='GN', num_groups=2),
    )
    assert [sum(hasattr(block, 'conv') for block in branch) for branch in neck.branches] == [
        1,
        1,
        2,
        3,
    ]
    _, *coarser = _levels(8)
    levels = [torch.randn_like(coarser[0]), *coarser]
    feats, *kept = neck(levels)
    assert all(own is given for own, given in zip(kept, levels, strict=True))
    encoded = levels[3] + _naive_encoding(8, *levels[3].shape[-2:])
    total = sum(
        branch(level) for branch, level in zip(neck.branches, [*levels[:3], encoded], strict=True)
    )
    torch.testing.assert_close(feats, total, atol=1e-5, rtol=1e-5)
