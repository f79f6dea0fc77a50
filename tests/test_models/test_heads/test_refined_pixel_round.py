"""The paper's form of DRMN against its Alg. 1, phrase by phrase and pixel by pixel."""

import math

import pytest
import torch
import torch.nn.functional as F
from small_ppmn import packed_queries

from mmground.models.heads import PhrasePixelHead
from mmground.models.heads.refined_pixel_round import take_refined
from mmground.models.necks import LevelAverage

C, HEADS, K = 16, 2, 5
SIZES = [(16, 24), (8, 12), (4, 6), (2, 3)]
LAYER = dict(residual='attention', ffn_residual=False, feedforward_channels=8, num_heads=HEADS)


@pytest.fixture
def head():
    torch.manual_seed(0)
    aggregation = dict(
        type='MCA',
        num_heads=HEADS,
        ffn_channels=8,
        scale='all',
        split_heads=True,
        norm_order='double_residual',
    )
    head = PhrasePixelHead(
        in_channels=C,
        text_channels=12,
        channels=C,
        num_rounds=3,
        pixel_proj='none',
        matching_round=dict(type='RefinedPixelRound'),
        refinement=dict(
            type='DeformableRefinement',
            num_points=K,
            level=None,
            position='pixel',
            max_seg_num=None,
            layer=LAYER,
            aggregation=aggregation,
        ),
    )
    for name, parameter in head.named_parameters():
        # Offsets that differ from query to query, and everything else away from its start.
        scale = 2.0 if 'sampling_offsets' in name else 0.4
        torch.nn.init.normal_(parameter, std=scale)
    return head.double().eval()


def _bilinear(level, x, y):
    """Value of a map (C, h, w) at fractions of its size; zero outside."""
    _, height, width = level.shape
    x, y = x * width - 0.5, y * height - 0.5
    total = torch.zeros(len(level), dtype=level.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * level[:, row, column]
    return total


def _linear(module, x):
    return module.weight @ x + (0 if module.bias is None else module.bias)


def _norm(module, x):
    x = (x - x.mean()) / (x.var(unbiased=False) + module.eps).sqrt()
    return x * module.weight + module.bias


def _ffn(module, x):
    return _linear(module.layers[1], _linear(module.layers[0][0], x).relu())


def _deform_layer(layer, query, centre, levels):
    """Eqs. 4-8."""
    attention = layer.attention
    offsets = _linear(attention.sampling_offsets, query).view(HEADS, 4, 4, 2)
    weights = _linear(attention.attention_weights, query).view(HEADS, 16).softmax(-1)
    heads = []
    for head in range(HEADS):
        own = slice(head * C // HEADS, (head + 1) * C // HEADS)
        total = 0
        for index, level in enumerate(levels):
            height, width = level.shape[1:]
            projected = torch.stack(
                [_linear(attention.value_proj, pixel)[own] for pixel in level.flatten(1).T], 1
            ).view(-1, height, width)
            for point in range(4):
                dx, dy = offsets[head, index, point]
                value = _bilinear(projected, centre[0] + dx / width, centre[1] + dy / height)
                total = total + weights[head, index * 4 + point] * value
        heads.append(total)
    found = _linear(attention.output_proj, torch.cat(heads))
    return _ffn(layer.ffn, _norm(layer.attention_norm, found + found))


def _cross_attention(part, query, pixels):
    """Eqs. 14-16."""
    attention, heads = part.attention, []
    for head in range(HEADS):
        own = slice(head * C // HEADS, (head + 1) * C // HEADS)
        # Applied from the right.
        to_q, to_k, to_v = (matrix[head].T for matrix in attention.in_proj_weight)
        scores = torch.stack([(to_q @ query[own]) @ (to_k @ pixel[own]) for pixel in pixels])
        weights = (scores / math.sqrt(C)).softmax(0)
        heads.append(sum(w * (to_v @ p[own]) for w, p in zip(weights, pixels, strict=True)))
    joined = torch.cat(heads)
    return _ffn(part.ffn, _norm(part.attention_norm, query + (joined + query)))


def _positions(height, width):
    """mmdet's normalised code: y in the first half of the channels, x in the second."""
    code = torch.zeros(height * width, C, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            for half, value in enumerate(((row + 1) / height, (column + 1) / width)):
                for pair in range(C // 4):
                    angle = 2 * math.pi * value / 10000 ** (2 * pair / (C // 2))
                    code[row * width + column, half * C // 2 + 2 * pair] = math.sin(angle)
                    code[row * width + column, half * C // 2 + 2 * pair + 1] = math.cos(angle)
    return code


def _algorithm(head, fused, levels, text):
    """Alg. 1 from line 14 on, for one image; a copy of F for each phrase."""
    height, width = fused.shape[1:]
    queries = [_linear(head.query_proj, own) for own in text]
    own_maps = [fused.flatten(1).T.clone() for _ in queries]
    positions = _positions(height, width)
    maps = [[own @ query for own, query in zip(own_maps, queries, strict=True)]]
    for part in head.rounds:
        for j in range(len(queries)):
            chosen = maps[-1][j].argsort(descending=True)[:K].tolist()
            encoded = []
            for s in chosen:
                centre = ((s % width + 0.5) / width, (s // width + 0.5) / height)
                query = own_maps[j][s] + positions[s] + queries[j]
                encoded.append(_deform_layer(part.refinement.layer, query, centre, levels))
            for s, value in zip(chosen, encoded, strict=True):
                own_maps[j][s] = value
            queries[j] = _cross_attention(part.refinement.aggregation, queries[j], encoded)
        maps.append([own @ query for own, query in zip(own_maps, queries, strict=True)])
    return [torch.stack(own).view(-1, height, width) for own in maps]


def test_agrees_with_the_algorithm(head):
    levels = [torch.randn(2, C, *size, dtype=torch.float64) for size in SIZES]
    feats = LevelAverage()(levels)
    expected_f = sum(
        F.interpolate(level, SIZES[1], mode='bilinear', align_corners=False) for level in levels
    )
    torch.testing.assert_close(feats[0], expected_f / 4)
    text = torch.randn(3, 12, dtype=torch.float64)
    with torch.no_grad():
        maps = head(feats, packed_queries(text, torch.tensor([0, 0, 1])))
        expected = [
            _algorithm(head, feats[0][b], [level[b] for level in levels], own)
            for b, own in enumerate((text[:2], text[2:]))
        ]
    assert len(maps) == 4
    for ours, first, second in zip(maps, *expected, strict=True):
        # The position code is in float32.
        torch.testing.assert_close(ours, torch.cat((first, second)), atol=1e-5, rtol=1e-5)


def test_every_round_takes_part_in_the_gradient(head):
    levels = [torch.randn(1, C, *size, dtype=torch.float64).requires_grad_() for size in SIZES]
    queries = packed_queries(torch.randn(2, 12, dtype=torch.float64), torch.tensor([0, 0]))
    maps = head(LevelAverage()(levels), queries)
    (maps[-1] * torch.randn_like(maps[-1])).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert all(level.grad.any() for level in levels)


def test_pixels_that_were_refined_before_are_taken_as_they_are():
    index, old_index = torch.tensor([[3, 1, 7]]), torch.tensor([[7, 2, 3]])
    pixels, old_pixels = torch.zeros(1, 3, 2), torch.arange(6.0).view(1, 3, 2)
    taken = take_refined(pixels, index, old_index, old_pixels)
    assert taken.tolist() == [[[4, 5], [0, 0], [0, 1]]]


def test_pixels_of_another_map_are_an_error():
    with pytest.raises(ValueError, match=r'refinement\.level=None, not 2'):
        PhrasePixelHead(
            in_channels=256,
            pixel_proj='none',
            matching_round=dict(type='RefinedPixelRound'),
            refinement=dict(type='DeformableRefinement'),
        )
