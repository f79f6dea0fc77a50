import math

import pytest
import torch
from mmengine.structures import InstanceData
from referring_factory import referring_sample

from mmground.evaluation.metrics import PointAccuracy


def sample_of(sample_id, *hits, **fields):
    sample = referring_sample(sample_id, **fields)
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


def test_expressions_without_target_do_not_count():
    metric = PointAccuracy()
    metric.process(None, [sample_of('a', True), sample_of('b', False, regions=())])
    assert metric.evaluate(2) == {'point/accuracy': 100, 'point/num_expressions': 1}
    metric.process(None, [sample_of('b', False, regions=())])
    assert math.isnan(metric.evaluate(1)['point/accuracy'])


def test_without_points():
    with pytest.raises(KeyError, match=r'sample a has no pred_phrases.point_hit'):
        PointAccuracy().process(None, [referring_sample().to_dict()])
    with pytest.raises(ValueError, match='no sample was processed'):
        PointAccuracy().evaluate(0)
