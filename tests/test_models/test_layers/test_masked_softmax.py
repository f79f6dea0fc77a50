import math

import pytest
import torch

from mmground.models.layers.masked_softmax import masked_softmax, plain_softmax


def _official(scores, mask):
    """A row, with a loop; masked slots count as 0 in the maximum."""
    highest = max(score if kept else 0.0 for score, kept in zip(scores, mask, strict=True))
    weights = [
        math.exp(score - highest) if kept else 0.0 for score, kept in zip(scores, mask, strict=True)
    ]
    return [weight / (sum(weights) + 1e-6) for weight in weights]


@pytest.mark.parametrize('shift', [0, -9, -30])
def test_rows_are_what_they_are_without_padding(shift):
    torch.manual_seed(0)
    scores = 3 * torch.randn(6, 7) + shift
    valid = torch.arange(7) < torch.tensor([7, 5, 5, 3, 1, 0])[:, None]
    mask = (torch.rand(6, 7) > 0.4) & valid
    mask[1] = valid[1]
    mask[2] = False
    # What stands at padding and at masked slots is of no matter.
    found = masked_softmax(scores.masked_fill(~mask, 1e4), mask, valid=valid)
    assert not found[~mask].any()
    for row, count in enumerate(valid.sum(1).tolist()):
        if not count:
            continue
        expected = _official(scores[row, :count].tolist(), mask[row, :count].tolist())
        torch.testing.assert_close(found[row, :count], torch.tensor(expected), atol=1e-7, rtol=1e-4)
    assert found[1].sum().item() == pytest.approx(1, abs=1e-5)


def test_gradients_are_finite():
    scores = torch.tensor([[1e4, -50.0, 3.0], [-50.0, -60.0, 9.0]], requires_grad=True)
    mask = torch.tensor([[False, True, False], [True, True, False]])
    valid = torch.tensor([[True, True, False], [True, True, False]])
    for weights in (masked_softmax(scores, mask, valid=valid), plain_softmax(scores, mask)):
        weights.square().sum().backward()
        assert scores.grad.isfinite().all()
        assert scores.grad[1, :2].any()
        assert not scores.grad[~mask].any()
        scores.grad = None


@pytest.mark.parametrize('shift', [0, -200])
def test_the_plain_one(shift):
    torch.manual_seed(0)
    scores = 9 * torch.randn(5, 6) + shift
    mask = torch.rand(5, 6) > 0.5
    mask[0] = False
    mask[1] = torch.arange(6) == 2
    found = plain_softmax(scores, mask)
    assert not found[0].any()
    assert torch.equal(found[1], mask[1].float())
    for row in range(1, 5):
        torch.testing.assert_close(found[row, mask[row]], scores[row, mask[row]].softmax(0))
        assert not found[row, ~mask[row]].any()


def test_nothing_to_normalise():
    for softmax in (masked_softmax, plain_softmax):
        for shape in ((0, 3), (0, 0)):
            assert softmax(torch.zeros(shape), torch.ones(shape, dtype=torch.bool)).shape == shape
