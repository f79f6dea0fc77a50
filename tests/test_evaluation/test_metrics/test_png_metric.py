import logging

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData

from mmground.evaluation.metrics import PNGMetric
from mmground.structures import Geometry, GroundingDataSample

SPLITS = ('', '_singulars', '_plurals', '_things', '_stuff')


def rectangle(top, left, bottom, right, shape=(16, 24)):
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def make_sample(sample_id='a', with_grid=True):
    """Three phrases about four regions, on a canvas that is twice the image.

    Phrase 0 is a singular thing, phrase 1 a plural whose last region is stuff, and
    phrase 2 singular stuff. Their IoUs in the original image are 1, 1/4 and 0.
    """
    regions = [
        rectangle(0, 0, 8, 8),
        rectangle(0, 8, 8, 16),
        rectangle(0, 16, 8, 24),
        rectangle(8, 0, 16, 24),
    ]
    predictions = [
        rectangle(0, 0, 8, 8),
        rectangle(0, 8, 4, 16),  # half of one of its two regions
        rectangle(0, 0, 0, 0),
    ]
    sample = GroundingDataSample(
        metainfo=dict(
            sample_id=sample_id,
            phrases=[dict(text=text) for text in ('a cat', 'all others', 'the grass')],
            ori_shape=(16, 24),
            geometry=Geometry((16, 24), (32, 48), canvas_shape=(32, 64)),
        )
    )
    sample.gt_regions = InstanceData(
        masks=torch.stack(regions), is_thing=torch.tensor([True, True, False, False])
    )
    sample.links = torch.tensor([[0, 0], [1, 1], [1, 2], [2, 3]])
    sample.pred_phrases = InstanceData(
        masks=torch.stack(predictions), scores=torch.tensor([0.9, 0.8, 0.1])
    )
    if with_grid:
        # A cell of the 8 x 16 grid is 2 x 2 pixels of the image; columns 12 to 15
        # are padding. 0.5 itself is background.
        probs = torch.full((3, 8, 16), 0.5)
        probs[0, :4, :8] = 0.51
        probs[1, :4, 4:12] = 1.0
        probs[2, 4:, :] = 1.0
        sample.pred_phrases.grid_probs = probs
    return sample


def evaluate(metric, *samples):
    evaluator = Evaluator(metric)
    evaluator.process(list(samples))
    return evaluator.evaluate(len(samples))


@pytest.fixture
def messages():
    """What is logged, as ``(level, text)``."""
    records = []

    class Handler(logging.Handler):
        def emit(self, record):
            records.append((record.levelno, record.getMessage()))

    logger, handler = MMLogger.get_current_instance(), Handler()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def test_original_protocol():
    metrics = evaluate(PNGMetric(), make_sample(with_grid=False))
    expected = [(1 + 1 / 4 + 0) / 3, (1 + 0) / 2, 1 / 4, 1, (1 / 4 + 0) / 2]
    ours = [metrics[f'png/original/AR{split}'] for split in SPLITS]
    np.testing.assert_allclose(ours, 100 * np.array(expected), rtol=0, atol=2e-3)
    recalls = [metrics[f'png/original/recall@0.5{split}'] for split in SPLITS]
    np.testing.assert_allclose(recalls, [100 / 3, 50, 0, 100, 0])
    assert metrics['png/num_phrases'] == 3
    assert metrics['png/num_dropped'] == 0
    assert len(metrics) == 12


def test_ppmn_protocol():
    """The grid counts the padding, and prediction means strictly above a half."""
    sample = make_sample()
    del sample.pred_phrases.masks
    metric = PNGMetric(protocol='ppmn')
    metrics = evaluate(metric, sample)
    # Phrase 0 covers 4 x 4 cells and is predicted on 4 x 8; phrase 2 covers 12 of 16
    # columns. Regions end on cell borders, but bilinear resizing from 2 x 2 pixels
    # dilates nothing into the middle of a neighbouring cell.
    expected = [(1 / 2 + 1 + 3 / 4) / 3, (1 / 2 + 3 / 4) / 2, 1, 1 / 2, (1 + 3 / 4) / 2]
    ours = [metrics[f'png/ppmn/AR{split}'] for split in SPLITS]
    np.testing.assert_allclose(ours, 100 * np.array(expected), rtol=0, atol=2e-3)
    assert metrics['png/ppmn/recall@0.5'] == pytest.approx(200 / 3)


def naive_bilinear(mask, height, width):
    """Cell centres mapped to the source, neighbours clamped to it, one cell at a time."""
    rows, columns = mask.shape
    out = np.zeros((height, width))
    for i in range(height):
        y = max((i + 0.5) * rows / height - 0.5, 0)
        y0 = int(y)
        y1 = min(y0 + 1, rows - 1)
        for j in range(width):
            x = max((j + 0.5) * columns / width - 0.5, 0)
            x0 = int(x)
            x1 = min(x0 + 1, columns - 1)
            top = mask[y0, x0] * (1 - (x - x0)) + mask[y0, x1] * (x - x0)
            bottom = mask[y1, x0] * (1 - (x - x0)) + mask[y1, x1] * (x - x0)
            out[i, j] = top * (1 - (y - y0)) + bottom * (y - y0)
    return out


# Enlarged and reduced; 0.5 occurs in both.
@pytest.mark.parametrize('shape', [(16, 24), (300, 40)])
def test_png256_protocol(shape):
    rng = np.random.default_rng(0)
    sample = make_sample(with_grid=False)
    regions = np.zeros((4, *shape), bool)
    predictions = np.zeros((3, *shape), bool)
    for mask in (*regions, *predictions[:2]):
        top, left = rng.integers(shape[0] // 2), rng.integers(shape[1] // 2)
        mask[top : top + shape[0] // 3, left : left + shape[1] // 3] = True
    sample.gt_regions.masks = torch.from_numpy(regions)
    sample.pred_phrases.masks = torch.from_numpy(predictions)
    metric = PNGMetric(protocol='png256')
    metric.process(None, [sample.to_dict()])
    ious = metric.results[0]['ious']['png256']

    targets = [regions[0], regions[1] | regions[2], regions[3]]
    for iou, prediction, target in zip(ious[:2], predictions, targets, strict=False):
        hard = (naive_bilinear(prediction, 256, 256) > 0.5).astype(float)
        p = naive_bilinear(hard, *shape)
        t = naive_bilinear(naive_bilinear(target, 256, 256), *shape)
        assert iou == pytest.approx((p * t).sum() / (p + t - p * t).sum(), abs=1e-6)
        assert 0 < iou < 1
    assert ious[2] == 0  # an empty prediction


def test_png256_of_a_perfect_prediction_is_below_one():
    sample = make_sample(with_grid=False)
    sample.pred_phrases.masks[0] = sample.gt_regions.masks[0]
    metric = PNGMetric(protocol='png256')
    metric.process(None, [sample.to_dict()])
    assert 0.9 < metric.results[0]['ious']['png256'][0] < 1


def test_both_protocols_keep_their_names():
    sample = make_sample()
    both = evaluate(PNGMetric(protocol=['original', 'ppmn']), sample)
    single = {}
    for protocol in ('original', 'ppmn'):
        single |= evaluate(PNGMetric(protocol=protocol), sample)
    assert both == single
    assert len(both) == 22


def test_phrases_are_averaged_over_all_samples():
    """Not per image: a narrative with more phrases weighs more."""
    short = make_sample('b')
    short.set_metainfo(dict(phrases=[dict(text='a cat')]))
    short.links = short.links[:1]
    short.pred_phrases = InstanceData(masks=torch.zeros(1, 16, 24, dtype=torch.bool))
    metrics = evaluate(PNGMetric(), make_sample('a'), short)
    assert metrics['png/original/AR'] == pytest.approx(100 * 1.25 / 4, abs=2e-3)
    assert metrics['png/num_phrases'] == 4


def test_results_hold_ious_and_flags_only():
    metric = PNGMetric(protocol=['original', 'ppmn'])
    metric.process(None, [make_sample().to_dict()])
    (result,) = metric.results
    assert result['sample_id'] == 'a'
    np.testing.assert_allclose(result['ious']['original'], [1, 0.25, 0])
    assert result['ious']['ppmn'].dtype == np.float64
    assert result['is_plural'].tolist() == [False, True, False]
    # Memory of tensors would be kept among that of the masks, see PNGMetric.
    kept = [*result['ious'].values(), result['is_plural'], result['is_thing']]
    assert all(array.flags.owndata for array in kept)
    assert result['is_thing'].tolist() == [True, False, False]
    assert result['num_dropped'] == 0
    assert len(result) == 5


def test_repeated_samples_count_once(messages):
    wrong = make_sample('a')
    wrong.pred_phrases.masks = torch.zeros_like(wrong.pred_phrases.masks)
    metrics = evaluate(PNGMetric(), make_sample('a'), make_sample('b'), wrong, wrong)
    assert metrics['png/num_phrases'] == 6
    assert metrics['png/original/AR'] == pytest.approx(100 * 1.25 / 3, abs=2e-3)
    warnings = [text for level, text in messages if level == logging.WARNING]
    assert len(warnings) == 1
    assert '2 repeated results' in warnings[0]


def test_phrase_that_vanishes_is_a_miss():
    """Neither predicted nor left over at a quarter of the canvas: NaN, and counted."""
    sample = make_sample()
    sample.gt_regions.masks[0] = rectangle(0, 0, 1, 1)
    sample.set_metainfo(dict(geometry=Geometry((16, 24), (16, 24), canvas_shape=(32, 64))))
    sample.pred_phrases.grid_probs = torch.zeros(3, 8, 16)
    metric = PNGMetric(protocol='ppmn')
    metric.process(None, [sample.to_dict()])
    ious = metric.results[0]['ious']['ppmn']
    assert np.isnan(ious[0])
    assert ious[1:].tolist() == [0, 0]
    metrics = metric.evaluate(1)
    assert metrics['png/ppmn/AR_things'] == 0
    assert metrics['png/num_phrases'] == 3


def test_empty_split_is_nan():
    sample = make_sample()
    sample.gt_regions.is_thing[:] = False
    metrics = evaluate(PNGMetric(), sample)
    assert np.isnan(metrics['png/original/AR_things'])
    assert np.isnan(metrics['png/original/recall@0.5_things'])
    assert metrics['png/original/AR_stuff'] == metrics['png/original/AR']


def test_dropped_phrases_are_counted():
    sample = make_sample()
    sample.pred_phrases.dropped = torch.tensor([False, False, True])
    metrics = evaluate(PNGMetric(), sample, make_sample('b'))
    assert metrics['png/num_dropped'] == 1
    assert metrics['png/num_phrases'] == 6


def test_threshold_step():
    metrics = evaluate(PNGMetric(threshold_step=0.1), make_sample())
    # IoU 1 gets all nine intervals, 1/4 the first three, 0 the first.
    assert metrics['png/original/AR'] == pytest.approx(100 * (0.9 + 0.3 + 0.1) / 3)


def test_table_is_logged(messages):
    evaluate(PNGMetric(protocol=['original', 'ppmn']), make_sample())
    table = next(text for _, text in messages if 'original AR' in text)
    for name in ('all', 'singulars', 'plurals', 'things', 'stuff', 'ppmn recall@0.5'):
        assert name in table
    assert '41.67' in table


def test_curve_files(tmp_path):
    curve_dir = tmp_path / 'curves'
    metric = PNGMetric(protocol=['original', 'ppmn'], curve_dir=str(curve_dir))
    evaluate(metric, make_sample())
    assert {path.name for path in curve_dir.iterdir()} == {
        f'recall_{protocol}.{suffix}'
        for protocol in ('original', 'ppmn')
        for suffix in ('csv', 'png')
    }
    curve = np.genfromtxt(curve_dir / 'recall_original.csv', delimiter=',', names=True)
    assert curve.dtype.names == ('threshold', 'all', 'singulars', 'plurals', 'things', 'stuff')
    assert curve['all'][0] == 1
    np.testing.assert_allclose(curve['all'][curve['threshold'] == 0.25], 2 / 3, atol=1e-6)
    np.testing.assert_allclose(curve['all'][-1], 1 / 3, atol=1e-6)


def test_prefix():
    assert 'val/original/AR' in evaluate(PNGMetric(prefix='val'), make_sample())


@pytest.mark.parametrize('protocol', ['soft', [], ['original', 'soft']])
def test_unknown_protocol(protocol):
    with pytest.raises(ValueError, match='protocol must be among'):
        PNGMetric(protocol=protocol)


def test_bad_threshold_step():
    with pytest.raises(ValueError, match='threshold_step'):
        PNGMetric(threshold_step=2)


def test_missing_grid_probs_names_the_remedy():
    with pytest.raises(KeyError, match=r'sample a .*keep_grid_probs=True in model.head.test_cfg'):
        evaluate(PNGMetric(protocol='ppmn'), make_sample(with_grid=False))


def test_missing_predictions():
    sample = make_sample()
    del sample.pred_phrases
    with pytest.raises(KeyError, match=r'sample a has no pred_phrases.masks'):
        evaluate(PNGMetric(), sample)


def test_missing_annotations():
    sample = make_sample()
    del sample.gt_regions
    with pytest.raises(KeyError, match=r'sample a .*LoadGroundingMasks'):
        evaluate(PNGMetric(), sample)


@pytest.mark.parametrize('protocol', ['original', 'ppmn', 'png256'])
def test_number_of_predictions_must_fit(protocol):
    sample = make_sample()
    sample.pred_phrases = sample.pred_phrases[:2]
    with pytest.raises(ValueError, match='sample a has 3 phrases, but 2 predictions'):
        evaluate(PNGMetric(protocol=protocol), sample)


def test_size_of_predictions_must_fit():
    sample = make_sample()
    sample.pred_phrases = InstanceData(
        masks=torch.zeros(3, 8, 12, dtype=torch.bool), grid_probs=torch.zeros(3, 16, 24)
    )
    with pytest.raises(ValueError, match=r'sample a: pred_phrases.masks .*the original image'):
        evaluate(PNGMetric(), sample)
    with pytest.raises(ValueError, match=r'sample a: pred_phrases.grid_probs .*the canvas'):
        evaluate(PNGMetric(protocol='ppmn'), sample)


def test_unlinked_phrase_names_the_sample():
    sample = make_sample()
    sample.links = sample.links[:3]
    with pytest.raises(ValueError, match=r'sample a: phrases \[2\] have no linked region'):
        evaluate(PNGMetric(), sample)


def test_nothing_to_evaluate():
    with pytest.raises(ValueError, match='no sample was processed'):
        PNGMetric().evaluate(0)
