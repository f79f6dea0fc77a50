import pytest
import torch

from mmground.evaluation.functional import proposal_scores


@pytest.mark.parametrize('strict', [False, True])
def test_equals_loops(strict):
    generator = torch.Generator().manual_seed(0)
    # Some equal the threshold, some are those of empty masks.
    ious = (torch.rand(12, 9, generator=generator) * 5).round() / 8
    ious[3, 4] = float('nan')
    drawn = torch.rand(12, generator=generator) > 0.4
    reached, chance = proposal_scores(ious, drawn, 0.5, strict)
    for e in range(9):
        hits = [iou > 0.5 if strict else iou >= 0.5 for iou in ious[:, e].tolist()]
        assert reached[e] == any(hits)
        own = [hit for hit, use in zip(hits, drawn.tolist(), strict=True) if use]
        assert chance[e] == pytest.approx(sum(own) / len(own), abs=1e-15)
    assert 0 < reached.sum() < 9
    # Without a selection all are drawn, and what is not drawn can be reached all the same.
    again, of_all = proposal_scores(ious, None, 0.5, strict)
    assert torch.equal(reached, again)
    assert of_all.sum() == pytest.approx(((ious > 0.5) | (ious == 0.5) * (not strict)).sum() / 12)


def test_without_proposals_or_expressions():
    reached, chance = proposal_scores(torch.zeros(0, 3))
    assert reached.tolist() == [False] * 3
    assert chance.tolist() == [0] * 3
    reached, chance = proposal_scores(torch.ones(2, 1), torch.tensor([False, False]))
    assert (reached.item(), chance.item()) == (True, 0)
    assert proposal_scores(torch.zeros(4, 0))[0].shape == (0,)
