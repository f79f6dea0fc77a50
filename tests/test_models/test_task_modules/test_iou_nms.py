import numpy as np
import pytest
import torch

from mmground.models.task_modules import (
    boxes_from_distances,
    interpolate_scores,
    iou_nms,
    overlap_scores,
    pairwise_box_ious,
    pairwise_mask_ious,
    ranking_scores,
    top_candidates,
)


def _random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _boxes(count, k, seed=0):
    corners = _random(count, k, 2, 2, seed=seed) * 50
    return corners.sort(dim=-2).values.flatten(-2)


def _box_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if union else 0.0


def test_ious_of_boxes_are_those_of_each_pair():
    boxes = _boxes(3, 5)
    boxes[1, 2] = 7  # without area
    ious = pairwise_box_ious(boxes)
    for t in range(3):
        for i in range(5):
            for j in range(5):
                expected = _box_iou(boxes[t, i].tolist(), boxes[t, j].tolist())
                assert ious[t, i, j].item() == pytest.approx(expected, abs=1e-6)


def test_ious_of_masks_are_those_of_each_pair():
    masks = _random(2, 4, 6, 5) > 0.6
    masks[0, 1] = masks[0, 3] = False
    ious = pairwise_mask_ious(masks)
    for t in range(2):
        for i in range(4):
            for j in range(4):
                own, other = masks[t, i].numpy(), masks[t, j].numpy()
                union = (own | other).sum()
                expected = (own & other).sum() / union if union else 0
                assert ious[t, i, j].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('include_self', [False, True])
def test_the_result_overlaps_most_with_the_others(include_self):
    ious = pairwise_box_ious(_boxes(6, 7))
    kept = torch.ones(6, 7, dtype=torch.bool)
    kept[2, 3:] = False
    overlaps = overlap_scores(ious, kept, include_self)
    best = iou_nms(ious, kept, include_self)
    for t in range(6):
        sums = []
        for i in range(int(kept[t].sum())):
            others = [j for j in range(int(kept[t].sum())) if include_self or j != i]
            sums.append(sum(ious[t, i, j].item() for j in others))
            assert overlaps[t, i].item() == pytest.approx(sums[-1], abs=1e-5)
        assert best[t] == int(np.argmax(sums))
    assert (overlaps[2, 3:] == -torch.inf).all()


def test_of_equals_the_better_ranked_is_the_result():
    """Boxes that do not touch: no overlap for anyone."""
    boxes = torch.arange(4.0)[:, None] * 10 + torch.tensor([0.0, 0.0, 5.0, 5.0])
    assert iou_nms(pairwise_box_ious(boxes[None])).tolist() == [0]
    # Eq. 7 counts the overlap of a box with itself, of which one without area has none.
    boxes[0, 2:] = boxes[0, :2]
    ious = pairwise_box_ious(boxes[None])
    assert iou_nms(ious).tolist() == [0]
    assert iou_nms(ious, include_self=True).tolist() == [1]


def test_one_candidate_is_the_result():
    assert iou_nms(torch.ones(3, 1, 1)).tolist() == [0, 0, 0]


def test_candidates_are_the_best_points():
    scores = _random(4, 30)
    found = top_candidates(scores, 7)
    for t in range(4):
        expected = sorted(range(30), key=lambda n, t=t: -scores[t, n].item())[:7]
        assert found.index[t].tolist() == expected
        assert found.scores[t].tolist() == [scores[t, n].item() for n in expected]
    assert found.kept.all()
    assert top_candidates(torch.ones(1, 5), 3).index.tolist() == [[0, 1, 2]]
    assert top_candidates(scores, 99).index.shape == (4, 30)


def test_candidates_of_a_smaller_k_are_the_first_of_a_larger_one():
    scores = _random(4, 30)
    assert torch.equal(top_candidates(scores, 4).index, top_candidates(scores, 12).index[:, :4])


def test_points_that_are_not_valid_are_no_candidates():
    scores = torch.tensor([[0.9, 0.1, 0.5, 0.8], [0.9, 0.1, 0.5, 0.8], [0.9, 0.1, 0.5, 0.8]])
    valid = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]]).bool()
    index, ranked, kept = top_candidates(scores, 3, valid)
    assert index[0].tolist() == [3, 2, 1]
    assert index[1, 0] == 2
    assert kept.tolist() == [[True] * 3, [True, False, False], [True] * 3]
    assert ranked[1, 0] == 0.5
    # An image on which no cell has its centre: all points.
    assert index[2].tolist() == [0, 3, 2]
    ious = torch.ones(3, 3, 3)
    assert iou_nms(ious, kept).tolist() == [0, 0, 0]


def test_ranking():
    scores, centerness = _random(2, 5), _random(2, 5, seed=1)
    assert ranking_scores(scores, None, 'ref') is scores
    product = ranking_scores(scores, centerness, 'ref*centerness')
    assert torch.equal(product, scores * centerness)
    with pytest.raises(ValueError, match='needs proposals with centerness'):
        ranking_scores(scores, None, 'ref*centerness')
    with pytest.raises(ValueError, match="got 'cls'"):
        ranking_scores(scores, centerness, 'cls')
    with pytest.raises(ValueError, match='positive, got 0'):
        top_candidates(scores, 0)


def test_boxes_around_points():
    points = torch.tensor([[16.0, 16.0], [48.0, 16.0]])
    distances = torch.tensor([[[4.0, 2.0, 6.0, 8.0], [100.0, 0.0, 3.0, 100.0]]])
    expected = torch.tensor([[[12.0, 14.0, 22.0, 24.0], [-52.0, 16.0, 51.0, 116.0]]])
    assert torch.equal(boxes_from_distances(points, distances), expected)
    clipped = boxes_from_distances(points, distances, (32, 50))
    assert torch.equal(clipped[0, 1], torch.tensor([0.0, 16.0, 50.0, 32.0]))


def test_scores_of_another_grid():
    logits = _random(2, 4, 4) * 6 - 3
    assert torch.equal(interpolate_scores(logits, (4, 4)), logits.sigmoid())
    probs = interpolate_scores(logits, (8, 8))
    # Of twice as many cells, one lies at a quarter of the way between two of the others.
    own = logits.sigmoid()
    rows = 0.75 * own[:, 1] + 0.25 * own[:, 2]
    expected = 0.75 * rows[:, 0] + 0.25 * rows[:, 1]
    torch.testing.assert_close(probs[:, 3, 1], expected, atol=1e-6, rtol=0)
    other = interpolate_scores(logits, (8, 8), 'logits')
    assert (probs - other).abs().max() > 1e-3
    corners = interpolate_scores(logits, (8, 8), align_corners=True)
    torch.testing.assert_close(corners[:, -1, -1], own[:, -1, -1])
    assert interpolate_scores(logits[:0], (8, 8)).shape == (0, 8, 8)
    with pytest.raises(ValueError, match="got 'nearest'"):
        interpolate_scores(logits, (8, 8), 'nearest')


def test_expressions_of_a_batch_do_not_mix():
    ious = pairwise_box_ious(_boxes(5, 6))
    together = iou_nms(ious)
    assert together.tolist() == [iou_nms(ious[t : t + 1]).item() for t in range(5)]
