import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from referring_factory import referring_sample
from result_factory import write_result_file

from mmground.evaluation import DumpedResults, DumpGroundingResults
from mmground.evaluation.breakdown import (
    ScoredPhrases,
    breakdown,
    extreme_samples,
    score_expressions,
    score_phrases,
)


def scored(**changes):
    """Seven phrases of three samples."""
    values = dict(
        sample_ids=['a', 'b', 'c'],
        sample=np.array([0, 0, 0, 1, 2, 2, 2]),
        texts=['cat', 'a cat', 'two  cats', 'grass', 'the very green wet long grass', 'x y', 'z'],
        ious=np.array([1.0, 0.5, np.nan, 0.25, 0.75, 0.0, 0.9]),
        areas=np.array([0, 1023, 1024, 9215, 9216, 50000, 10]),
        is_plural=np.array([0, 0, 1, 0, 0, 1, 0], dtype=bool),
        is_thing=np.array([1, 1, 1, 0, 0, 0, 1], dtype=bool),
        categories=np.array([7, 7, 7, 2, 2, 2, 9]),
    )
    return ScoredPhrases(**{**values, **changes})


def test_breakdown_by_hand():
    found = breakdown(scored(), {7: 'cat', 2: 'grass'})
    numbers = {
        kind: {name: group['num_phrases'] for name, group in groups.items()}
        for kind, groups in found.items()
    }
    assert numbers == dict(
        all={'all': 7},
        number=dict(singulars=5, plurals=2),
        kind=dict(things=4, stuff=3),
        # 32 x 32 pixels are medium, 96 x 96 large.
        size=dict(small=3, medium=2, large=2),
        words={'1': 3, '2': 3, '6 or more': 1},
        category={'grass': 3, 'cat': 3, 'category 9': 1},
    )
    # NaN is a miss, and recall is strict.
    assert found['category']['cat']['AR'] == pytest.approx(50, abs=2e-3)
    assert found['category']['cat']['recall@0.5'] == pytest.approx(100 / 3)
    assert found['all']['all']['AR'] == pytest.approx(100 * 3.4 / 7, abs=2e-3)


def test_without_categories():
    assert 'category' not in breakdown(scored(categories=None), {})


def test_extreme_samples():
    phrases = scored()
    np.testing.assert_allclose(phrases.sample_scores(), [0.5, 0.25, 0.55])
    assert extreme_samples(phrases, 1) == ([1], [2])
    # None is both.
    assert extreme_samples(phrases, 2) == ([1, 0], [2])
    assert extreme_samples(phrases, 9) == ([1, 0, 2], [])
    assert phrases.of_sample(2).tolist() == [4, 5, 6]


def test_scores_of_a_file(tmp_path):
    phrases = score_phrases(DumpedResults(write_result_file(tmp_path)))
    assert phrases.sample_ids == ['139_0', '285_1', '139_2', '632_4', '285_5', '139_6']
    assert phrases.sample.tolist() == [0, 0, 0, 1, 1, 2, 3, 4, 4, 5]
    assert phrases.texts[:3] == ['Man', 'two Dogs', 'green grass']
    assert phrases.ious[:3].tolist() == [1, 1, 1]  # the first sample is predicted perfectly
    assert phrases.ious[-1] == 0  # and the last not at all
    assert phrases.areas[:3].tolist() == [64, 56 + 64, 32 * 13 - 56 - 64]
    assert phrases.is_plural.tolist()[:3] == [False, True, False]
    assert phrases.is_thing.tolist()[:3] == [True, True, False]
    assert phrases.categories.tolist()[:3] == [1, 2, 3]


def test_points_alone_cannot_be_analyzed(tmp_path):
    """Of a model without localisers."""
    sample = referring_sample()
    sample.pred_phrases = InstanceData(point_hit=torch.tensor([True]))
    metric = DumpGroundingResults(str(tmp_path / 'points.jsonl'))
    metric.process(None, [sample.to_dict()])
    metric.evaluate(1)
    with pytest.raises(KeyError, match=r'points\.jsonl: .* no boxes or masks to analyze'):
        score_expressions(DumpedResults(tmp_path / 'points.jsonl'))
