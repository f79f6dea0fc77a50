import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from data_factory import PNG_CATEGORIES
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from referring_factory import write_referring_results
from result_factory import predicted_samples, write_result_file

from mmground.evaluation import (
    DumpedResults,
    DumpGroundingResults,
    PNGMetric,
    ReferringMetric,
)
from mmground.structures import GroundingDataSample

PROTOCOLS = ['original', 'ppmn', 'png256']


def evaluate(samples):
    return Evaluator(PNGMetric(PROTOCOLS)).offline_evaluate(samples)


@pytest.mark.parametrize('name', ['results.jsonl', 'deep/er/results.jsonl.gz'])
def test_round_trip(tmp_path, name):
    samples, dataset = predicted_samples(tmp_path)
    evaluator = Evaluator(dict(type='DumpGroundingResults', out_file=str(tmp_path / name)))
    evaluator.dataset_meta = dataset.metainfo
    # The last batch of a distributed sampler repeats a sample.
    assert evaluator.offline_evaluate([*samples, samples[0]]) == {}
    results = DumpedResults(tmp_path / name)
    assert len(results) == len(samples)
    assert results.categories == {c['id']: c['name'] for c in PNG_CATEGORIES}
    for _ in range(2):  # it can be read again
        read = list(results)
        assert [sample.sample_id for sample in read] == [sample.sample_id for sample in samples]
    for sample, again in zip(samples, read, strict=True):
        for key in ('img_id', 'img_path', 'text', 'phrases', 'ori_shape', 'img_shape', 'geometry'):
            assert getattr(again, key) == getattr(sample, key), key
        assert torch.equal(again.links, sample.links)
        for field in ('masks', 'bboxes', 'is_thing', 'category_ids'):
            ours, theirs = again.gt_regions[field], sample.gt_regions[field]
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours, theirs)
        predicted = again.pred_phrases
        assert torch.equal(predicted.masks, sample.pred_phrases.masks)
        assert torch.equal(predicted.dropped, sample.pred_phrases.dropped)
        assert torch.equal(predicted.scores, sample.pred_phrases.scores)
        assert torch.equal(predicted.grid_probs > 0.5, sample.pred_phrases.grid_probs > 0.5)
    assert evaluate(results) == pytest.approx(evaluate(samples), abs=1e-6, nan_ok=True)


def test_the_place_of_a_letterboxed_part_is_kept(tmp_path):
    samples, _ = predicted_samples(tmp_path)
    geometry = replace(samples[0].geometry, offset=(3, 1), ratio=1.5, crop=(1, 2, 8, 9))
    samples[0].set_metainfo(dict(geometry=geometry))
    path = str(tmp_path / 'results.jsonl')
    Evaluator(dict(type='DumpGroundingResults', out_file=path)).offline_evaluate(samples)
    assert next(iter(DumpedResults(path))).geometry == geometry


def test_the_file_is_plain_json_lines(tmp_path):
    path = write_result_file(tmp_path, 'results.jsonl')
    header, *lines = map(json.loads, Path(path).read_text(encoding='utf-8').splitlines())
    assert (header['mmground_results'], header['num_samples']) == (1, 6)
    assert [line['sample_id'] for line in lines][:2] == ['139_0', '285_1']
    assert lines[1]['text'] == 'Ein süßer CAFÉ Cat tree.'
    assert lines[1]['links'] == [[0, 0], [1, 1]]
    assert lines[1]['regions'][0].keys() == {'mask', 'bbox', 'is_thing', 'category_id'}
    assert lines[1]['predictions'][0].keys() == {'mask', 'score', 'dropped', 'grid_mask'}
    assert lines[1]['predictions'][0]['mask']['size'] == [20, 30]
    assert [child.name for child in tmp_path.glob('.*')] == []  # no temporary file is left


def test_a_system_that_predicts_boxes_and_data_without_annotations(tmp_path):
    sample = GroundingDataSample(
        metainfo=dict(sample_id='a', text='a cat', phrases=[dict(text='a cat')], ori_shape=(4, 5))
    )
    sample.pred_phrases = InstanceData(bboxes=torch.tensor([[0.0, 1.0, 2.5, 4.0]]))
    metric = DumpGroundingResults(str(tmp_path / 'r.jsonl'))
    metric.process(None, [sample.to_dict()])
    metric.evaluate(1)
    (again,) = DumpedResults(tmp_path / 'r.jsonl')
    assert again.pred_phrases.bboxes.tolist() == [[0.0, 1.0, 2.5, 4.0]]
    assert again.pred_phrases.keys() == ['bboxes']
    assert 'gt_regions' not in again


def test_referring_expressions(tmp_path):
    """One of them without a target; the canvas is known without probabilities on it."""
    samples, path = write_referring_results(tmp_path)
    again, expected = (
        Evaluator(ReferringMetric(['original', 'canvas'], breakdown=True)).offline_evaluate(of)
        for of in (DumpedResults(path), samples)
    )
    assert again == pytest.approx(expected, nan_ok=True)
    assert again['referring/num_no_target'] == 1
    assert again['referring/canvas/box_mIoU'] != again['referring/original/box_mIoU']
    assert 'referring/original/refcoco_testA/Acc@0.5/type_relation' in again
    assert again['referring/canvas/point_acc'] == 75


def test_a_failed_evaluation_keeps_the_older_file(tmp_path):
    path = write_result_file(tmp_path)
    content = Path(path).read_bytes()
    metric = DumpGroundingResults(path)
    with pytest.raises(TypeError):
        metric.compute_metrics([('a', None)])
    assert Path(path).read_bytes() == content
    assert list(tmp_path.glob('.*')) == []


def test_errors_of_writing(tmp_path):
    with pytest.raises(ValueError, match=r'results\.pkl: .* must end with \.jsonl or \.jsonl\.gz'):
        DumpGroundingResults('results.pkl')
    metric = DumpGroundingResults(str(tmp_path / 'r.jsonl'))
    with pytest.raises(KeyError, match='sample a has no pred_phrases'):
        metric.process(None, [dict(sample_id='a', phrases=[])])
    predicted = dict(scores=torch.ones(2))
    with pytest.raises(ValueError, match=r"expected 1 predictions, got \{'score': 2\}"):
        metric.process(None, [dict(sample_id='a', phrases=[{}], pred_phrases=predicted)])


def test_errors_of_reading(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.jsonl: .* does not exist'):
        DumpedResults(tmp_path / 'none.jsonl')
    with pytest.raises(ValueError, match='must end with'):
        DumpedResults(tmp_path / 'none.pkl')

    path = Path(write_result_file(tmp_path))
    lines = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r'results\.jsonl\.gz: damaged after line \d'):
        list(DumpedResults(path))

    plain = tmp_path / 'plain.jsonl'
    for text, message in (
        ('', 'no header of version 1'),
        ('[]\n', 'no header of version 1'),
        ('{"a": 1}\n', 'no header of version 1'),
        ('\x00\n', 'damaged after line 0'),
        (''.join(lines[:-2]), 'holds 4 of 6 samples: it is truncated'),
        (''.join(lines[:3]) + lines[3][:50], 'damaged after line 3'),
        (lines[0] + lines[1].replace('"links"', '"links_"', 1).replace('phrases', 'x'), 'line 2'),
        (lines[0] + lines[1].replace('"counts":"', '"counts":"0', 1), 'line 2 is malformed'),
    ):
        plain.write_text(text)
        with pytest.raises(ValueError, match=message):
            list(DumpedResults(plain))
