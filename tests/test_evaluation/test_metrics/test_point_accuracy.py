import pytest
import torch
from mmengine.structures import InstanceData
from referring_factory import referring_sample

from mmground.evaluation.metrics import PointAccuracy


def sample_of(sample_id, *hits):
    sample = referring_sample(sample_id)
    sample.pred_phrases = InstanceData(point_hit=torch.tensor(hits))
    return sample.to_dict()


def test_share_of_hits_with_each_sample_once():
    metric = PointAccuracy()
    metric.process(None, [sample_of('a', True), sample_of('b', False), sample_of('c', True)])
    metric.process(None, [sample_of('b', True)])
    values = metric.evaluate(4)
    assert values == {
        'point/accuracy': pytest.approx(200 / 3),
        'point/num_expressions': 3,
    }


def test_without_points():
    with pytest.raises(KeyError, match=r'sample a has no pred_phrases.point_hit'):
        PointAccuracy().process(None, [referring_sample().to_dict()])
    with pytest.raises(ValueError, match='no sample was processed'):
        PointAccuracy().evaluate(0)
