import json
import math

import pytest
import torch
import torch.nn.functional as F

from mmground.models.losses import (
    ImageTextRankingLoss,
    ReconstructionLoss,
    RelationLoss,
    SelfTaughtRegressionLoss,
    relation_class_weights,
)
from mmground.models.task_modules import decode_boxes, encode_boxes


def _boxes(generator, *shape):
    corners = torch.rand(*shape, 2, 2, generator=generator).sort(-2).values
    return torch.cat((30 * corners[..., 0, :], 60 + 30 * corners[..., 1, :]), dim=-1)


def _iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def _offsets(box, target):
    width, height = box[2] - box[0], box[3] - box[1]
    other_width, other_height = target[2] - target[0], target[3] - target[1]
    dx = (target[0] + target[2] - box[0] - box[2]) / 2 / width
    dy = (target[1] + target[3] - box[1] - box[3]) / 2 / height
    return 10 * dx, 10 * dy, 5 * math.log(other_width / width), 5 * math.log(other_height / height)


@pytest.mark.parametrize('score_gap', [0.0, 0.1])
def test_self_taught_regression_by_loops(score_gap):
    generator = torch.Generator().manual_seed(0)
    text_index, valid = torch.tensor([0, 0, 2]), torch.ones(3, 8, dtype=torch.bool)
    valid[2, 5:] = False
    boxes = _boxes(generator, 3, 8)
    boxes[1, 3] = boxes[1, 0]
    attention = torch.rand(3, 8, generator=generator) * 0.4 * valid
    attention[1, 0] = 0.5
    deltas = torch.randn(3, 8, 4, generator=generator)
    totals, counts, taught = [0.0] * 3, [0] * 3, 0
    for phrase in range(3):
        anchor = int(attention[phrase].argmax())
        for other in range(8):
            pair = [boxes[phrase, i].double().tolist() for i in (anchor, other)]
            if not valid[phrase, other] or pair[0] == pair[1] or _iou(*pair) < 0.6:
                continue
            counts[text_index[phrase]] += 4
            if attention[phrase, anchor] - attention[phrase, other] < score_gap:
                continue
            taught += 1
            for own, target in zip(deltas[phrase, other], _offsets(*pair[::-1]), strict=True):
                error = abs(own.item() - target)
                error = 0.5 * error**2 if error < 1 else error - 0.5
                totals[text_index[phrase]] += error
    assert taught > 2
    assert (taught * 4 < sum(counts)) == (score_gap > 0)
    loss = SelfTaughtRegressionLoss(score_gap=score_gap, loss_weight=0.5)
    found = loss(deltas, boxes, attention, valid, text_index, 3)
    expected = [
        0.5 * total / count if count else 0.0 for total, count in zip(totals, counts, strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-4)
    assert found[1] == 0
    loss = SelfTaughtRegressionLoss(score_gap=score_gap, reduction='sum', loss_weight=0.5)
    found = loss(deltas, boxes, attention, valid, text_index, 3)
    expected = torch.tensor([0.5 * total for total in totals])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match='reduction must be'):
        SelfTaughtRegressionLoss(reduction='none')


def test_collapsed_boxes_have_finite_gradients():
    boxes = torch.tensor([[[0.0, 0.0, 9.0, 9.0], [3.0, 3.0, 3.0, 9.0], [0.0, 0.0, 9.0, 8.0]]])
    boxes.requires_grad_()
    deltas = torch.zeros(1, 3, 4, requires_grad=True)
    attention = torch.tensor([[0.8, 0.1, 0.1]])
    everything = torch.ones(1, 3, dtype=torch.bool)
    loss = SelfTaughtRegressionLoss()(
        deltas, boxes, attention, everything, torch.zeros(1, dtype=torch.int64), 1
    )
    loss.sum().backward()
    assert loss > 0
    assert boxes.grad.isfinite().all()
    assert boxes.grad[0, 2].any()
    assert not boxes.grad[0, 1].any()
    assert not deltas.grad[0, :2].any()


def test_offsets_are_undone():
    generator = torch.Generator().manual_seed(0)
    boxes, targets = _boxes(generator, 2, 5), _boxes(generator, 2, 5)
    moved = decode_boxes(boxes, encode_boxes(boxes, targets))
    torch.testing.assert_close(moved, targets, atol=1e-4, rtol=0)


def test_ranking_by_loops():
    generator = torch.Generator().manual_seed(0)
    similarities = 3 * torch.randn(4, 4, generator=generator)
    ignored = torch.zeros(4, 4, dtype=torch.bool)
    ignored[0, 2] = ignored[2, 0] = True
    for mask in (None, ignored):
        expected = 0.0
        for matrix, skip in ((similarities, mask), (similarities.T, mask)):
            for row in range(4):
                probs = matrix[row].softmax(0)
                expected += max(
                    max(0.0, (probs[j] - probs[row] + 0.2).item())
                    for j in range(4)
                    if j != row and not (skip is not None and skip[row, j])
                )
        found = ImageTextRankingLoss()(similarities, mask).item()
        assert found == pytest.approx(expected, abs=1e-4)
    assert ImageTextRankingLoss()(similarities[:1, :1]) == 0


def test_weights_of_relations(tmp_path):
    weights = relation_class_weights([100, 400, 1600])
    # 1 / sqrt(n) is 4, 2 and 1 fortieths.
    torch.testing.assert_close(weights, torch.tensor([10.0, 4.0, 1.0]))
    assert relation_class_weights([7, 7]).tolist() == [1, 1]
    with pytest.raises(ValueError, match='relation 1'):
        relation_class_weights([3, 0])
    path = tmp_path / 'relations.json'
    content = dict(counts=[100, 400, 1600], predicates=['on', 'in', 'of'], relations={})
    path.write_text(json.dumps(content))
    assert torch.equal(RelationLoss(class_counts=str(path)).class_weights(3), weights)
    with pytest.raises(ValueError, match='counts 3 relations, but the model has 5'):
        RelationLoss(class_counts=str(path)).class_weights(5)
    with pytest.raises(FileNotFoundError, match='parse_relations'):
        RelationLoss(class_counts=str(tmp_path / 'none.json')).class_weights(5)
    path.write_text('[]')
    with pytest.raises(ValueError, match=r'expected an object with .*counts.*parse_relations'):
        RelationLoss(class_counts=str(path)).class_weights(3)


def test_relations_by_loops():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, generator=generator)
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 1]]).bool()
    text_index = torch.tensor([0, 0, 2, 2])
    loss = RelationLoss(class_counts=[100, 400, 1600])
    weights = loss.class_weights(3)

    def bce(row):
        target = labels[row].double()
        probs = logits[row].double().sigmoid()
        own = -(target * probs.log() + (1 - target) * (1 - probs).log())
        return (own * weights).mean()

    expected = torch.stack([bce(0), torch.tensor(0.0), (bce(2) + bce(3)) / 2]).float()
    torch.testing.assert_close(loss(logits, labels, text_index, 3), expected)
    scores = logits.log_softmax(1)
    expected = [-(scores[0, 0] + scores[0, 2]) / 2, torch.tensor(0.0), -scores[2, 1] - scores[3, 2]]
    found = RelationLoss(form='ce')(logits, labels, text_index, 3)
    torch.testing.assert_close(found, torch.stack(expected))
    with pytest.raises(ValueError, match='form must be'):
        RelationLoss(form='mse')


def test_reconstruction_is_a_mean_or_sum_over_the_words_of_a_text():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, generator=generator)
    targets = torch.randint(5, (3, 4), generator=generator)
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 0]]).bool()
    found = ReconstructionLoss()(logits, targets, mask, torch.tensor([0, 0, 1]), 2)
    expected = F.cross_entropy(logits[mask], targets[mask])
    torch.testing.assert_close(found, torch.stack([expected, torch.tensor(0.0)]))
    found = ReconstructionLoss('sum')(logits, targets, mask, torch.tensor([0, 0, 1]), 2)
    torch.testing.assert_close(found, torch.stack([5 * expected, torch.tensor(0.0)]))
    with pytest.raises(ValueError, match='reduction must be'):
        ReconstructionLoss('none')
