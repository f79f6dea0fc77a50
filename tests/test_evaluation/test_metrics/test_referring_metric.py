import json
import logging
import math

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from processes import run_processes
from referring_factory import rectangle, referring_sample

from mmground.evaluation.metrics import ReferringMetric
from mmground.structures import Geometry

BOX_NAMES = ('Acc@0.25', 'Acc@0.5', 'Acc@0.75', 'box_mIoU')
MASK_NAMES = ('mIoU', 'oIoU', 'Pr@0.5', 'Pr@0.6', 'Pr@0.7', 'Pr@0.8', 'Pr@0.9')


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


def evaluate(metric, *samples):
    evaluator = Evaluator(metric)
    evaluator.process([sample.clone() for sample in samples])
    return evaluator.evaluate(len(samples))


def random_samples(count=60, seed=0):
    """Boxes and masks that do not belong together, some of two regions, some empty."""
    rng = np.random.default_rng(seed)
    samples = []

    def box(shape):
        x1, y1 = rng.integers(shape[1] - 1), rng.integers(shape[0] - 1)
        return x1, y1, rng.integers(x1 + 1, shape[1] + 1), rng.integers(y1 + 1, shape[0] + 1)

    for index in range(count):
        shape = (int(rng.integers(40, 120)), int(rng.integers(40, 120)))
        regions = [tuple(map(int, box(shape))) for _ in range(1 + index % 2)]
        predicted = tuple(map(int, box(shape)))
        if index % 3:  # near the target
            predicted = tuple(np.clip(np.array(regions[0]) + rng.integers(-4, 5, 4), 0, None))
            x1, y1, x2, y2 = map(int, predicted)
            predicted = (x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))
        sample = referring_sample(
            f's{index}',
            regions,
            predicted,
            shape,
            text=' '.join(['word'] * int(rng.integers(1, 14))),
            type_=('', 'relation', 'size')[index % 3],
            dataset='refcoco',
            split=('val', 'testA')[index % 4 == 0],
        )
        noise = torch.from_numpy(rng.random(shape) > 0.7)
        sample.pred_phrases.masks ^= noise
        if index % 10 == 5:
            sample.pred_phrases.masks[:] = False
        sample.gt_regions.bboxes = sample.gt_regions.bboxes + torch.tensor([0.25, 0.5, 0.75, 1.0])
        samples.append(sample)
    return samples


def naive_scores(sample):
    """(box IoU, intersection, union, mask area) of an expression, in Python numbers."""
    boxes = sample.gt_regions.bboxes.tolist()
    target = [min(b[0] for b in boxes), min(b[1] for b in boxes)]
    target += [max(b[2] for b in boxes), max(b[3] for b in boxes)]
    predicted = sample.pred_phrases.bboxes[0].tolist()
    width = min(target[2], predicted[2]) - max(target[0], predicted[0])
    height = min(target[3], predicted[3]) - max(target[1], predicted[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (target, predicted))
    truth = {*map(tuple, sample.gt_regions.masks.any(0).nonzero().tolist())}
    mask = {*map(tuple, sample.pred_phrases.masks[0].nonzero().tolist())}
    return shared / (areas - shared), len(truth & mask), len(truth | mask), len(truth)


def naive_measures(samples):
    boxes, intersections, unions, _ = map(
        np.array, zip(*(naive_scores(sample) for sample in samples), strict=True)
    )
    ious = np.array([i / u for i, u in zip(intersections, unions, strict=True)])
    measures = {f'Acc@{t}': np.mean(boxes >= t) for t in (0.25, 0.5, 0.75)}
    measures |= {f'Pr@{t}': np.mean(ious >= t) for t in (0.5, 0.6, 0.7, 0.8, 0.9)}
    measures |= dict(box_mIoU=boxes.mean(), mIoU=ious.mean(), oIoU=sum(intersections) / sum(unions))
    return {name: 100 * value for name, value in measures.items()}


def test_equals_loops_over_expressions_and_splits():
    samples = random_samples()
    metrics = evaluate(ReferringMetric(), *samples)
    parts = {'': samples}
    for split in ('val', 'testA'):
        parts[f'refcoco_{split}/'] = [sample for sample in samples if sample.split == split]
    for where, own in parts.items():
        expected = naive_measures(own)
        assert set(expected) == {*BOX_NAMES, *MASK_NAMES}
        assert 5 < expected['mIoU'] < 60
        for name, value in expected.items():
            assert metrics[f'referring/original/{where}{name}'] == pytest.approx(value, abs=1e-9)
        assert metrics[f'referring/{where}num_expressions'] == len(own)
        assert metrics[f'referring/{where}num_no_target'] == 0
    assert len(metrics) == 3 * (11 + 2)
    assert 0 < metrics['referring/original/Pr@0.5'] < metrics['referring/original/Acc@0.5'] < 100


def test_one_split_or_none_has_no_names_of_its_own():
    named = evaluate(ReferringMetric(), *[s for s in random_samples() if s.split == 'val'])
    assert len(named) == 13
    samples = random_samples()
    for sample in samples:
        del sample.split, sample.dataset
    assert evaluate(ReferringMetric(), *samples).keys() == named.keys()


def test_threshold_is_reached_or_exceeded():
    """An IoU of exactly a half, of boxes and masks."""
    sample = referring_sample(predicted=(4, 2, 9, 12))
    inclusive = evaluate(ReferringMetric(), sample)
    assert inclusive['referring/original/Acc@0.5'] == 100
    assert inclusive['referring/original/Pr@0.5'] == 100
    strict = evaluate(ReferringMetric(strict=True), sample)
    assert strict['referring/original/Acc@0.5'] == 0
    assert strict['referring/original/Pr@0.5'] == 0
    for name in ('Acc@0.25', 'Acc@0.75', 'mIoU', 'Pr@0.6'):
        assert strict[f'referring/original/{name}'] == inclusive[f'referring/original/{name}']
    # So are thresholds that no float has exactly.
    sample = referring_sample(predicted=(4, 2, 10, 12))
    assert evaluate(ReferringMetric(), sample)['referring/original/Pr@0.6'] == 100
    assert evaluate(ReferringMetric(strict=True), sample)['referring/original/Pr@0.6'] == 0


def test_empty_predictions_and_targets():
    missed = referring_sample('missed', predicted=None)
    metrics = evaluate(ReferringMetric(), missed, referring_sample('found'))
    for name in ('Acc@0.25', 'box_mIoU', 'mIoU', 'oIoU', 'Pr@0.9'):
        assert metrics[f'referring/original/{name}'] == 50
    # A region without a pixel is a target nevertheless.
    vanished = referring_sample('vanished', predicted=None)
    vanished.gt_regions.masks[:] = False
    metrics = evaluate(ReferringMetric(), vanished)
    assert metrics['referring/original/mIoU'] == 100
    assert metrics['referring/original/oIoU'] == 100
    assert metrics['referring/original/box_mIoU'] == 0
    assert metrics['referring/num_expressions'] == 1
    vanished.pred_phrases = referring_sample().pred_phrases
    assert evaluate(ReferringMetric(), vanished)['referring/original/mIoU'] == 0


def test_expressions_without_target_count_apart(messages):
    nothing = referring_sample('none', regions=(), predicted=None)
    something = referring_sample('some', regions=())
    metrics = evaluate(ReferringMetric(breakdown=True), nothing, something, referring_sample('x'))
    assert metrics['referring/num_expressions'] == 1
    assert metrics['referring/num_no_target'] == 2
    assert metrics['referring/original/mIoU'] == 100
    assert metrics['referring/original/oIoU'] == 100
    assert metrics['referring/original/box_no_target_acc'] == 50
    assert metrics['referring/original/mask_no_target_acc'] == 50
    assert metrics['referring/original/Acc@0.5/size_small'] == 100
    assert any('3 expressions, 2 of them without a target' in text for _, text in messages)
    # Of annotations without a single region, a reader makes no fields at all.
    nothing.gt_regions = InstanceData()
    metrics = evaluate(ReferringMetric(), nothing)
    assert metrics['referring/original/mask_no_target_acc'] == 100
    assert np.isnan(metrics['referring/original/mIoU'])
    assert np.isnan(metrics['referring/original/oIoU'])


def test_tasks():
    boxes_only, masks_only = random_samples(8), random_samples(8)
    for sample in boxes_only:
        del sample.pred_phrases.masks
    for sample in masks_only:
        del sample.pred_phrases.bboxes
    both = evaluate(ReferringMetric(), *random_samples(8))
    for samples, task, names in ((boxes_only, 'rec', BOX_NAMES), (masks_only, 'res', MASK_NAMES)):
        scored = evaluate(ReferringMetric(), *samples)
        assert scored == evaluate(ReferringMetric(tasks=task), *random_samples(8))
        measured = {name.split('/')[-1] for name in scored}
        assert measured == {*names, 'num_expressions', 'num_no_target'}
        assert scored.items() <= both.items()
    with pytest.raises(KeyError, match=r'sample s0 has no pred_phrases.masks: the model predicts'):
        evaluate(ReferringMetric(tasks=['rec', 'res']), *boxes_only)
    with pytest.raises(ValueError, match='sample s0 has no intersections, mask_ious, unions, whi'):
        evaluate(ReferringMetric(), boxes_only[0], random_samples(2)[1])


def test_breakdown(messages):
    samples = random_samples()
    metrics = evaluate(ReferringMetric(breakdown=True), *samples)
    splits = {'': samples}
    for split in ('val', 'testA'):
        splits[f'refcoco_{split}/'] = [sample for sample in samples if sample.split == split]
    count = 0
    for where, own in splits.items():
        areas = [naive_scores(sample)[3] for sample in own]
        words = [len(sample.text.split()) for sample in own]
        groups = {
            'size_small': [area < 32 * 32 for area in areas],
            'size_medium': [32 * 32 <= area < 96 * 96 for area in areas],
            'size_large': [area >= 96 * 96 for area in areas],
            'type_relation': [sample.phrases[0]['type'] == 'relation' for sample in own],
            'type_size': [sample.phrases[0]['type'] == 'size' for sample in own],
            'words_1-2': [n <= 2 for n in words],
            'words_3-4': [3 <= n <= 4 for n in words],
            'words_5-7': [5 <= n <= 7 for n in words],
            'words_8-10': [8 <= n <= 10 for n in words],
            'words_11-or-more': [n >= 11 for n in words],
        }
        for name, flags in groups.items():
            members = [sample for sample, flag in zip(own, flags, strict=True) if flag]
            for measure in ('Acc@0.5', 'mIoU', 'oIoU'):
                key = f'referring/original/{where}{measure}/{name}'
                if members:
                    expected = naive_measures(members)[measure]
                    assert metrics[key] == pytest.approx(expected, abs=1e-9)
                    count += 1
                else:
                    assert key not in metrics
    assert count == len(metrics) - 3 * 13
    tables = [text for _, text in messages if text.startswith('By kind of expression')]
    assert len(tables) == 3
    assert 'type: relation' in tables[0]


def test_area_is_that_of_the_box_without_masks():
    sample = referring_sample(regions=((0, 0, 32, 32),), shape=(64, 64))
    sample.gt_regions = InstanceData(bboxes=sample.gt_regions.bboxes)
    metrics = evaluate(ReferringMetric(tasks='rec', breakdown=True), sample)
    assert 'referring/original/Acc@0.5/size_medium' in metrics


def test_table_has_a_row_per_split(messages):
    samples = random_samples()
    for sample in samples[:10]:
        sample.set_metainfo(dict(dataset='refcoco+', split='testB'))
    metrics = evaluate(ReferringMetric(), *samples)
    table = next(text for _, text in messages if text.startswith('Referring expressions'))
    rows = {line.split()[1]: line.split() for line in table.splitlines() if '|' in line}
    assert {'all', 'refcoco_val', 'refcoco_testA', 'refcoco+_testB'} < rows.keys()
    assert rows['refcoco+_testB'][3] == '10'
    assert (
        rows['refcoco+_testB'][5] == f'{metrics["referring/original/refcoco+_testB/Acc@0.25"]:.2f}'
    )


def canvas_sample(**fields):
    sample = referring_sample('c', regions=((4, 2, 14, 12),), shape=(24, 32))
    sample.gt_regions.bboxes = torch.tensor([[4.7, 2.3, 4.7 + 9.99, 2.3 + 10.0]])
    sample.set_metainfo(dict(geometry=Geometry((24, 32), (48, 64), (8, 0), canvas_shape=(64, 64))))
    for name, value in fields.items():
        sample.pred_phrases[name] = value
    return sample


def test_canvas_protocol_cuts_the_annotated_box():
    # x, y, width, height: 4, 2, 9, 10. On the canvas twice that, 8 below.
    target = torch.tensor([[8.0, 12.0, 26.0, 32.0]])
    for boxes, expected in (
        (target, 1.0),
        (target + torch.tensor([[0, 0, 18.0, 0]]), 0.5),
        (target - torch.tensor([[8.0, 12, 0, 0]]), 18 * 20 / (26 * 32)),
    ):
        metrics = evaluate(ReferringMetric('canvas'), canvas_sample(canvas_bboxes=boxes))
        assert metrics['referring/canvas/box_mIoU'] == pytest.approx(100 * expected, abs=1e-4)
    assert metrics['referring/canvas/Acc@0.25'] == 100
    assert metrics['referring/canvas/Acc@0.5'] == 0


def test_canvas_protocol_maps_boxes_that_the_image_clips():
    """Without the model's own boxes on the canvas, those in the image."""
    sample = canvas_sample(bboxes=torch.tensor([[4.0, 2.0, 13.0, 12.0]]))
    assert evaluate(ReferringMetric('canvas'), sample)['referring/canvas/box_mIoU'] == 100
    sample = canvas_sample(bboxes=torch.tensor([[4.0, 2.0, 22.0, 12.0]]))
    metrics = evaluate(ReferringMetric(['canvas', 'original']), sample)
    assert metrics['referring/canvas/box_mIoU'] == 50
    assert metrics['referring/original/box_mIoU'] == pytest.approx(
        100 * 9.99 * 9.7 / (18 * 10 + 9.99 * 10 - 9.99 * 9.7), abs=1e-3
    )


@pytest.mark.parametrize('x', [100.37, 33.33, 500.01])
def test_cut_width_survives_single_precision(x):
    sample = canvas_sample(bboxes=torch.tensor([[int(x), 2.0, int(x) + 50, 12.0]]))
    sample.gt_regions.bboxes = torch.tensor([[x, 2.0, x + 50, 12.0]])
    sample.set_metainfo(dict(geometry=Geometry((640, 640), (640, 640), canvas_shape=(640, 640))))
    assert evaluate(ReferringMetric('canvas', 'rec'), sample)['referring/canvas/box_mIoU'] == 100


def test_canvas_protocol_scores_resized_masks():
    sample = canvas_sample(masks=rectangle((4, 2, 9, 12), (24, 32))[None])
    metrics = evaluate(ReferringMetric(['original', 'canvas']), sample)
    # Twice as large, rectangles keep their shares; corners may be rounded off.
    assert metrics['referring/original/mIoU'] == 50
    assert metrics['referring/canvas/mIoU'] == pytest.approx(50, abs=1)
    scores = ReferringMetric('canvas')
    scores.process(None, [sample.to_dict()])
    union = scores.results[0]['scores']['canvas']['unions'].item()
    assert abs(union - 400) <= 4
    sample.set_metainfo(dict(geometry=Geometry((24, 32), (48, 64))))
    with pytest.raises(ValueError, match='sample c: the canvas size is unknown'):
        evaluate(ReferringMetric('canvas'), sample)


def test_file_of_ious(tmp_path):
    path = tmp_path / 'new/ious.jsonl'
    samples = random_samples(6)
    for sample in samples:
        sample.set_metainfo(dict(geometry=sample.geometry.on_canvas((64, 64))))
    evaluate(ReferringMetric(['original', 'canvas'], ious_file=str(path)), *samples)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record['protocol'] for record in records] == ['original'] * 6 + ['canvas'] * 6
    for record, sample in zip(records, samples, strict=False):
        box_iou, intersection, union, area = naive_scores(sample)
        assert record['sample_id'] == sample.sample_id
        assert record['text'] == sample.text
        assert record['split'] == f'refcoco_{sample.split}'
        assert record['box_iou'] == pytest.approx(box_iou)
        assert record['intersection'] == intersection
        assert record['mask_iou'] == pytest.approx(intersection / union)
        assert record['area'] == area
    with pytest.raises(ValueError, match=r'must end with .jsonl: ious.csv'):
        ReferringMetric(ious_file='ious.csv')


def test_repeated_samples_count_once(messages):
    wrong = referring_sample('a', predicted=None)
    metrics = evaluate(ReferringMetric(), referring_sample('a'), referring_sample('b'), wrong)
    assert metrics['referring/num_expressions'] == 2
    assert metrics['referring/original/mIoU'] == 100
    warnings = [text for level, text in messages if level == logging.WARNING]
    assert ['1 repeated results' in text for text in warnings] == [True]


def _evaluate_a_part(rank, size):
    """As a distributed sampler deals samples out: in turn, and from the first on at the end."""
    samples = random_samples(size)
    samples += samples[: -size % 2]
    metric = ReferringMetric(['original', 'canvas'])
    for sample in samples[rank::2]:
        metric.process(None, [sample.to_dict()])
    return metric.evaluate(size)


def test_several_processes(tmp_path):
    alone = evaluate(ReferringMetric(['original', 'canvas']), *random_samples(7))
    for metrics in run_processes(_evaluate_a_part, tmp_path, 7):
        assert metrics == alone


def test_keeps_numbers_and_texts_only():
    metric = ReferringMetric(['original', 'canvas'])
    metric.process(None, [random_samples(1)[0].to_dict()])
    (result,) = metric.results
    arrays = [result['areas'], result['has_target']]
    for scores in result['scores'].values():
        assert scores.keys() == {'box_ious', 'mask_ious', 'intersections', 'unions'}
        arrays += scores.values()
    # Memory of tensors would be kept among that of the masks.
    assert all(array.flags.owndata and array.shape == (1,) for array in arrays)


def test_several_phrases_of_a_sample():
    sample = referring_sample(regions=((4, 2, 14, 12), (20, 2, 30, 12)))
    sample.set_metainfo(dict(phrases=[dict(text='left'), dict(text='right'), dict(text='both')]))
    sample.links = torch.tensor([[0, 0], [2, 0], [1, 1], [2, 1]])
    sample.pred_phrases = InstanceData(
        bboxes=sample.gt_regions.bboxes[[0, 0, 0]], masks=sample.gt_regions.masks[[0, 1, 1]]
    )
    metric = ReferringMetric()
    metric.process(None, [sample.to_dict()])
    scores = metric.results[0]['scores']['original']
    np.testing.assert_allclose(scores['box_ious'], [1, 0, 100 / 260])
    np.testing.assert_allclose(scores['mask_ious'], [1, 1, 0.5])
    assert metric.evaluate(1)['referring/num_expressions'] == 3


def test_bad_arguments():
    for protocol in ('640', [], ['original', 'x']):
        with pytest.raises(ValueError, match='protocol must be among'):
            ReferringMetric(protocol)
    for tasks in ('boxes', []):
        with pytest.raises(ValueError, match='tasks must be among'):
            ReferringMetric(tasks=tasks)


def test_what_does_not_fit():
    sample = referring_sample()
    sample.pred_phrases.masks = torch.zeros(1, 6, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match=r'sample a: pred_phrases.masks is \(1, 6, 8\), expected'):
        evaluate(ReferringMetric(), sample)
    sample = referring_sample()
    sample.pred_phrases.bboxes[0, 2] = float('nan')
    with pytest.raises(ValueError, match=r'sample a: a box .* is not finite'):
        evaluate(ReferringMetric(), sample)
    sample = referring_sample()
    sample.pred_phrases = InstanceData(scores=torch.tensor([1.0]))
    with pytest.raises(KeyError, match=r'no pred_phrases.bboxes and no pred_phrases.masks'):
        evaluate(ReferringMetric(), sample)
    sample = referring_sample()
    del sample.gt_regions.masks
    with pytest.raises(KeyError, match=r'no gt_regions.masks .*LoadGroundingMasks'):
        evaluate(ReferringMetric(), sample)
    sample = referring_sample()
    del sample.gt_regions
    with pytest.raises(KeyError, match='sample a has no annotations'):
        evaluate(ReferringMetric(), sample)
    with pytest.raises(ValueError, match='no sample was processed'):
        ReferringMetric().evaluate(0)


def _with_points(sample, hit):
    sample.pred_phrases.point_hit = torch.tensor([hit])
    return sample


def _points_only(sample_id, hit, **fields):
    sample = referring_sample(sample_id, **fields)
    sample.pred_phrases = InstanceData(scores=torch.tensor([0.5]))
    return _with_points(sample, hit)


def test_points_beside_boxes_and_masks():
    samples = [
        _with_points(referring_sample('a', type_='size'), True),
        _with_points(referring_sample('b', predicted=(20, 2, 30, 12), type_='size'), True),
        _with_points(referring_sample('c', type_='relation'), False),
    ]
    metrics = evaluate(ReferringMetric(['original', 'canvas'], breakdown=True), *samples)
    for protocol in ('original', 'canvas'):
        of_points = {
            name.removeprefix(f'referring/{protocol}/'): value
            for name, value in metrics.items()
            if name.startswith(f'referring/{protocol}/point_acc')
        }
        assert of_points['point_acc'] == pytest.approx(200 / 3)
        assert of_points['point_acc/type_size'] == 100
        assert of_points['point_acc/type_relation'] == 0
        assert metrics[f'referring/{protocol}/Acc@0.5'] == pytest.approx(200 / 3)
        # Points are scored whatever is to be scored.
    metrics = evaluate(ReferringMetric(tasks='res'), *samples)
    assert metrics['referring/original/point_acc'] == pytest.approx(200 / 3)
    assert 'referring/original/Acc@0.5' not in metrics


def test_points_alone_of_a_model_without_localisers(tmp_path):
    path = tmp_path / 'ious.jsonl'
    samples = [
        _points_only('a', True),
        _points_only('b', False),
        _points_only('c', True),
        # Without a target there is nothing to hit.
        _points_only('d', False, regions=()),
    ]
    metrics = evaluate(ReferringMetric(ious_file=str(path)), *samples)
    assert metrics == {
        'referring/original/point_acc': pytest.approx(200 / 3),
        'referring/num_expressions': 3,
        'referring/num_no_target': 1,
    }
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record['point_hit'] for record in records] == [True, False, True, False]
    metrics = evaluate(ReferringMetric(), samples[-1])
    assert math.isnan(metrics['referring/original/point_acc'])
    for metric in (ReferringMetric(tasks='rec'), ReferringMetric(topk=3)):
        with pytest.raises(KeyError, match=r'sample a has no pred_phrases\.bboxes'):
            evaluate(metric, samples[0])
    samples[0].pred_phrases.point_hit = torch.ones(1, 2)
    with pytest.raises(ValueError, match=r'sample a: pred_phrases.point_hit is \(1, 2\)'):
        evaluate(ReferringMetric(), samples[0])
    with pytest.raises(ValueError, match=r'sample b has no box_ious, .*for every sample or for n'):
        evaluate(ReferringMetric(), _with_points(referring_sample('a'), True), samples[1])


def test_the_first_value_is_the_one_to_select_by():
    """As ``save_best='auto'`` takes it."""
    boxes, masks = (_with_points(referring_sample(), True) for _ in range(2))
    del boxes.pred_phrases.masks
    del masks.pred_phrases.bboxes
    for sample, name in (
        (_with_points(referring_sample(), True), 'original/Acc@0.5'),
        (boxes, 'original/Acc@0.5'),
        (masks, 'original/mIoU'),
        (_points_only('a', True), 'original/point_acc'),
    ):
        metrics = evaluate(ReferringMetric(), sample)
        assert next(iter(metrics)) == f'referring/{name}'
        assert metrics[f'referring/{name}'] == 100
    metrics = evaluate(ReferringMetric(['canvas', 'original'], breakdown=True), referring_sample())
    assert next(iter(metrics)) == 'referring/canvas/Acc@0.5'


def test_results_for_a_smaller_k_from_kept_candidates():
    """Eq. 7 by a loop over pairs of boxes; masks are those of the boxes."""
    rng = np.random.default_rng(3)
    samples, targets = [], []
    for index in range(8):
        x, y = rng.integers(0, 20, 2)
        target = (int(x), int(y), int(x) + 30, int(y) + 30)
        boxes = np.array(target) + rng.integers(-8, 9, (6, 4))
        boxes = np.clip(boxes, 0, 64).tolist()
        sample = referring_sample(f's{index}', [target], target, (64, 64))
        ious = torch.tensor([[_iou(one, two) for two in boxes] for one in boxes])
        sample.pred_phrases = InstanceData(
            bboxes=torch.zeros(1, 4),
            masks=torch.zeros(1, 64, 64, dtype=torch.bool),
            box_candidates=torch.tensor([boxes]).float(),
            mask_candidates=torch.stack([rectangle(box, (64, 64)) for box in boxes])[None],
            # As the head keeps them: what is not to count is 0.
            box_ious=(ious - torch.eye(6))[None],
            mask_ious=(ious - torch.eye(6))[None],
        )
        samples.append(sample)
        targets.append((target, boxes, ious))
    metrics = evaluate([ReferringMetric(topk=k) for k in (1, 3, 6)], *samples)
    for k in (1, 3, 6):
        expected = []
        for target, boxes, ious in targets:
            scores = [sum(ious[i, j] for j in range(k) if j != i) for i in range(k)]
            expected.append(_iou(boxes[int(np.argmax(scores))], target))
        assert metrics[f'referring_k{k}/original/box_mIoU'] == pytest.approx(
            100 * np.mean(expected), abs=1e-4
        )
        assert metrics[f'referring_k{k}/original/mIoU'] == pytest.approx(
            100 * np.mean(expected), abs=1e-4
        )


def test_candidates_must_have_been_kept():
    sample = referring_sample('s', [(0, 0, 9, 9)], (0, 0, 9, 9), (64, 64))
    with pytest.raises(KeyError, match=r'keeps no box candidates .* keep_candidates=True'):
        evaluate(ReferringMetric(topk=2), sample)
    with pytest.raises(ValueError, match="topk must be positive and the protocol 'original'"):
        ReferringMetric(topk=2, protocol='canvas')
    for settings in (dict(score_mode='ref'), dict(topk=2, score_mode='ref*centerness')):
        with pytest.raises(ValueError, match="score_mode must be 'ref', with a topk, or None"):
            ReferringMetric(**settings)


def _iou(one, two):
    width = max(0, min(one[2], two[2]) - max(one[0], two[0]))
    height = max(0, min(one[3], two[3]) - max(one[1], two[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)]
    return width * height / (sum(areas) - width * height)
