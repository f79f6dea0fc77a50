import logging

import pytest
import torch
from mmengine.structures import InstanceData

from mmground.evaluation import PhraseGroundingMetric
from mmground.evaluation.functional import best_ious, centre_hits, recalled
from mmground.evaluation.metrics import phrase_grounding_metric
from mmground.structures import GroundingDataSample

BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [0.0, 20.0, 10.0, 40.0]])
# Phrase 1 has two boxes, and phrase 2 none.
LINKS = torch.tensor([[0, 2], [1, 0], [1, 1]])


def _sample(boxes, sample_id='0', **fields):
    sample = GroundingDataSample(
        metainfo=dict(
            sample_id=sample_id,
            phrases=[
                dict(text='a', type='people'),
                dict(text='b', type='clothing/other'),
                dict(text='c', type='people'),
            ],
        )
    )
    sample.gt_regions = InstanceData(bboxes=BOXES)
    sample.links = LINKS
    sample.pred_phrases = InstanceData(bboxes=torch.tensor(boxes), **fields)
    return sample


GOOD = [[0.0, 20.0, 10.0, 30.0], [0.0, 0.0, 30.0, 10.0], [0.0, 0.0, 1.0, 1.0]]


def _measures(*samples, **kwargs):
    metric = PhraseGroundingMetric(**kwargs)
    metric.process(None, [sample.to_dict() for sample in samples])
    return metric.compute_metrics(metric.results)


def test_measures():
    measures = _measures(_sample(GOOD))
    # Half of the box exactly, and all of the union; the phrase without a box does not count.
    assert measures['num_phrases'] == 2
    assert measures['num_without_box'] == 1
    assert [measures[f'Acc@{t}'] for t in (0.5, 0.6, 0.7, 0.8)] == [100, 50, 50, 50]
    assert measures['mIoU'] == 75
    assert measures['PointIt'] == 100
    assert measures['Acc@0.5/people'] == measures['Acc@0.5/clothing'] == 100
    assert 'Acc@0.5/other' not in measures
    assert not any(name.startswith(('coarse', 'fine', 'R@', 'upper')) for name in measures)


def test_any_box():
    measures = _measures(_sample(GOOD), target='any')
    assert measures['mIoU'] == pytest.approx(100 * (0.5 + 1 / 3) / 2)
    # The centre of the box around both is in neither.
    assert measures['PointIt'] == measures['Acc@0.5'] == 50
    one = [GOOD[0], BOXES[1].tolist(), GOOD[2]]
    assert _measures(_sample(one), target='any')['Acc@0.5/clothing'] == 100
    assert _measures(_sample(one))['Acc@0.5/clothing'] == 0


def test_stages_candidates_and_proposals():
    candidates = torch.zeros(3, 12, 4)
    candidates[0, 6] = torch.tensor(GOOD[0])
    candidates[1, 11] = torch.tensor(GOOD[1])
    scores = torch.zeros(3, 12)
    scores[0, :8] = torch.linspace(1, 0.3, 8)
    sample = _sample(
        GOOD,
        bboxes_coarse=torch.zeros(3, 4),
        bboxes_fine=torch.tensor(GOOD[::-1]),
        candidate_bboxes=candidates,
        candidate_scores=scores,
    )
    sample.proposals = InstanceData(bboxes=BOXES[2:])
    measures = _measures(sample)
    assert measures['Acc@0.5'] == 100
    assert measures['coarse/Acc@0.5'] == 0
    assert measures['fine/Acc@0.5'] == 50
    # Phrase 0 among the first 10; phrase 1 is tied with all others at 0.
    assert (measures['R@5'], measures['R@10']) == (0, 50)
    assert (measures['R@5_ties'], measures['R@10_ties']) == (50, 100)
    assert measures['upper_bound'] == 50


def test_unmatched_phrases():
    unmatched = torch.tensor([True, False, True])
    # The last has no box.
    assert _measures(_sample(GOOD, unmatched=unmatched))['unmatched'] == 50
    assert 'unmatched' not in _measures(_sample(GOOD))


def test_any_of_merged_boxes_is_told(monkeypatch):
    logged = []
    monkeypatch.setattr(
        phrase_grounding_metric, 'print_log', lambda text, **kwargs: logged.append((text, kwargs))
    )

    def warnings(*samples, target='any'):
        logged.clear()
        _measures(*samples, target=target)
        return [text for text, kwargs in logged if kwargs.get('level') == logging.WARNING]

    merged = _sample(GOOD, '1')
    merged.links = LINKS[:2]
    assert "set its boxes='all'" in warnings(merged)[0]
    assert not warnings(merged, _sample(GOOD)) and not warnings(merged, target='union')


def test_repeated_samples_count_once():
    wrong = [[50.0, 50.0, 60.0, 60.0]] * 3
    samples = [_sample(GOOD), _sample(wrong, '1'), _sample(GOOD)]
    assert _measures(*samples)['Acc@0.5'] == 50
    assert _measures(*samples)['num_phrases'] == 4


def test_errors():
    with pytest.raises(ValueError, match="'union' or 'any'"):
        PhraseGroundingMetric(target='all')
    sample = _sample(GOOD)
    del sample.links
    with pytest.raises(KeyError, match='sample 0 has no annotations'):
        _measures(sample)
    with pytest.raises(ValueError, match=r'are \(2, 4\), expected \(3, 4\)'):
        _measures(_sample(GOOD[:2]))
    sample = _sample(GOOD)
    del sample.pred_phrases
    with pytest.raises(KeyError, match='no pred_phrases'):
        _measures(sample)
    with pytest.raises(ValueError, match=r'no coarse/PointIt, coarse/iou'):
        _measures(_sample(GOOD), _sample(GOOD, '1', bboxes_coarse=torch.tensor(GOOD)))
    with pytest.raises(ValueError, match='nothing to evaluate'):
        PhraseGroundingMetric().compute_metrics([])


def test_functions_by_loops():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(4, 6, 2, 2, generator=generator).sort(2).values * 40
    boxes, truth = corners.flatten(2).double(), BOXES.double()
    links = torch.tensor([[0, 2], [1, 0], [1, 1], [3, 2]])
    ious, hits = best_ious(boxes, truth, links), centre_hits(boxes[:, 0], truth, links)
    for phrase in range(4):
        own = [truth[region] for other, region in links.tolist() if other == phrase]
        x, y = ((boxes[phrase, 0, i] + boxes[phrase, 0, i + 2]) / 2 for i in (0, 1))
        assert hits[phrase] == any(b[0] <= x <= b[2] and b[1] <= y <= b[3] for b in own)
        for index in range(6):
            best = 0.0
            for target in own:
                box = boxes[phrase, index]
                size = torch.minimum(box[2:], target[2:]) - torch.maximum(box[:2], target[:2])
                shared = size.clamp(min=0).prod()
                union = (box[2:] - box[:2]).prod() + (target[2:] - target[:2]).prod() - shared
                best = max(best, float(shared / union))
            assert ious[phrase, index] == pytest.approx(best)
    scores = torch.tensor([[0.5, 0.2, 0.2, 0.1]])
    for place, exact, ties in ((0, 1, 1), (1, 1, 1), (2, 0, 1), (3, 0, 0)):
        correct = torch.zeros(1, 4)
        correct[0, place] = 0.5
        assert recalled(correct, scores, 2, 0.5, ties=False).item() == exact
        assert recalled(correct, scores, 2, 0.5, ties=True).item() == ties
