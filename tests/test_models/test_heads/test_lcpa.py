import pytest
import torch
import torch.nn.functional as F

from mmground.models.heads import LCPA, MatchingState

IMAGE_INDEX = torch.tensor([0, 0, 1])


def _state(queries, pixels, logits):
    return MatchingState(queries, logits, pixels, IMAGE_INDEX, slots=torch.tensor([0, 1, 0]))


def test_matches_a_naive_computation():
    mca = dict(type='MCA', num_heads=4, ffn_channels=8)
    part = LCPA(channels=16, num_points=5, aggregation=mca, smooth=False)
    mca = part.aggregation
    queries, pixels, logits = torch.randn(3, 16), torch.randn(2, 16, 4, 6), torch.randn(3, 4, 6)
    output = part(_state(queries, pixels, logits))
    for n, image in enumerate(IMAGE_INDEX):
        best = logits[n].flatten().argsort(descending=True)[:5]
        context = torch.stack([pixels[image, :, i // 6, i % 6] for i in best])
        attended, _ = mca.attention.attn(queries[n : n + 1], context, context)
        a = F.layer_norm(
            queries[n] + attended[0],
            (16,),
            mca.attention_norm.weight,
            mca.attention_norm.bias,
        )
        first, second = mca.ffn.layers[0][0], mca.ffn.layers[1]
        hidden = torch.relu(a @ first.weight.T + first.bias)
        total = a + hidden @ second.weight.T + second.bias
        expected = F.layer_norm(total, (16,), mca.ffn_norm.weight, mca.ffn_norm.bias)
        torch.testing.assert_close(output[n], expected, atol=1e-5, rtol=1e-5)


def test_selection_is_smoothed():
    part = LCPA(channels=16, num_points=1)
    logits = torch.zeros(1, 5, 9)
    logits[0, 2, 1] = 1.0  # a lone peak
    logits[0, 1:4, 5:8] = 0.9  # a blob, whose middle keeps its height
    assert part.select(logits).item() == 2 * 9 + 6
    part.smooth = False
    assert part.select(logits).item() == 2 * 9 + 1


def test_more_points_than_pixels_take_them_all():
    part = LCPA(channels=16, num_points=100)
    index = part.select(torch.randn(2, 3, 4))
    assert torch.equal(index.sort().values, torch.arange(12).expand(2, 12))


def test_selection_takes_no_gradient():
    part = LCPA(channels=16, num_points=3)
    logits = torch.randn(3, 4, 6, requires_grad=True)
    pixels = torch.randn(2, 16, 4, 6, requires_grad=True)
    part(_state(torch.randn(3, 16), pixels, logits)).sum().backward()
    assert logits.grad is None
    assert pixels.grad is not None


def test_adaptive_max_pooling_takes_the_best_of_every_bin():
    part = LCPA(channels=16, num_points=5, selection='adaptive_max_pool', smooth=False)
    logits = torch.randn(3, 4, 6)
    index = part.select(logits)
    assert index.shape == (3, 5)
    for own, flat in zip(index, logits.flatten(1), strict=True):
        for s in range(5):
            start, end = s * 24 // 5, -(-(s + 1) * 24 // 5)
            assert own[s] == start + flat[start:end].argmax()
    assert not torch.equal(
        index.sort().values,
        LCPA(channels=16, num_points=5, smooth=False).select(logits).sort().values,
    )


def test_more_bins_than_pixels_take_every_pixel():
    part = LCPA(channels=16, num_points=100, selection='adaptive_max_pool')
    index = part.select(torch.randn(2, 3, 4))
    assert torch.equal(index, torch.arange(12).expand(2, 12))


@pytest.mark.parametrize('selection', ['topk', 'adaptive_max_pool'])
def test_selection_of_no_query(selection):
    part = LCPA(channels=16, num_points=5, selection=selection)
    assert part.select(torch.zeros(0, 4, 6)).shape == (0, 5)


def test_selections_that_do_not_exist():
    with pytest.raises(ValueError, match='selection must be one of'):
        LCPA(selection='random')
    with pytest.raises(ValueError, match='num_rounds=0'):
        LCPA(num_points=0)
