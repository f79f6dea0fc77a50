"""PPMN's evaluation against the numbers of the published implementation."""

import numpy as np
import pytest
import torch
from parity_data import ParityData

from mmground.evaluation.functional import average_recall, mask_iou, recall_at
from mmground.evaluation.metrics import PNGMetric
from mmground.structures import Geometry, grid_targets, phrase_flags, phrase_masks

PPMN = ParityData('ppmn')


@pytest.fixture
def annotation():
    """The phrases of ``gt_masks.npz`` as regions and links."""
    case = PPMN.arrays('gt_masks')
    rgb = torch.from_numpy(case['panoptic_png'].astype(np.int64))
    panoptic = (rgb * torch.tensor([1, 256, 65536])).sum(-1)
    np.testing.assert_array_equal(panoptic, case['panoptic_id'])
    segment_ids = case['segment_id'].tolist()
    links = [
        (phrase, segment_ids.index(segment))
        for phrase, segments in enumerate(case['phrase_segment_id'].tolist())
        for segment in segments
        if segment != -1
    ]
    return dict(
        case,
        region_masks=panoptic == torch.tensor(segment_ids)[:, None, None],
        is_thing=torch.from_numpy(case['segment_isthing']).bool(),
        links=torch.tensor(links),
        num_phrases=len(case['phrase_segment_id']),
        geometry=Geometry(
            ori_shape=tuple(rgb.shape[:2]),
            img_shape=tuple(case['resized_shape'].tolist()),
            canvas_shape=tuple(case['padded_shape'].tolist()),
        ),
    )


def test_average_recall():
    case = PPMN.arrays('average_recall')
    ious, types, categories = case['ious'], case['ann_types'], case['ann_categories']
    assert np.isnan(ious).any()
    everything = np.ones(len(ious), dtype=bool)
    splits = (everything, types == 1, types == 2, categories == 1, categories == 2)
    ours = [average_recall(ious[split]) for split in splits]
    np.testing.assert_allclose(ours, case['average_recall'], rtol=0, atol=1e-9)
    np.testing.assert_allclose(recall_at(ious, 0.5), case['accuracy'], rtol=0, atol=1e-12)


def test_average_recall_of_metric():
    case = PPMN.arrays('average_recall')
    result = dict(
        sample_id='0',
        ious={'ppmn': case['ious']},
        is_plural=case['ann_types'] == 2,
        is_thing=case['ann_categories'] == 1,
        num_dropped=0,
    )
    metrics = PNGMetric(protocol='ppmn').compute_metrics([result])
    names = ['AR', 'AR_singulars', 'AR_plurals', 'AR_things', 'AR_stuff']
    ours = [metrics[f'ppmn/{name}'] / 100 for name in names]
    np.testing.assert_allclose(ours, case['average_recall'], rtol=0, atol=1e-9)


def test_phrase_masks(annotation):
    masks = phrase_masks(annotation['region_masks'], annotation['links'], annotation['num_phrases'])
    np.testing.assert_array_equal(masks, annotation['gt_full'])


def test_phrase_flags(annotation):
    is_plural, is_thing = phrase_flags(
        annotation['is_thing'], annotation['links'], annotation['num_phrases']
    )
    np.testing.assert_array_equal(is_plural, annotation['ann_types'] == 2)
    np.testing.assert_array_equal(is_thing, annotation['ann_categories'] == 1)


def test_resized_masks(annotation):
    masks = phrase_masks(annotation['region_masks'], annotation['links'], annotation['num_phrases'])
    on_canvas = annotation['geometry'].masks(masks)
    height, width = annotation['resized_shape']
    np.testing.assert_allclose(
        on_canvas[:, :height, :width], annotation['gt_resized'], rtol=0, atol=1e-5
    )
    assert not on_canvas[:, height:].any()
    assert not on_canvas[:, :, width:].any()


def test_grid_targets(annotation):
    masks = phrase_masks(annotation['region_masks'], annotation['links'], annotation['num_phrases'])
    targets = grid_targets(masks, annotation['geometry'])
    np.testing.assert_array_equal(targets, annotation['gt_quarter'])


def test_phrase_iou():
    case = PPMN.arrays('phrase_pooling')
    assert (case['phrase_probs'] == 0.5).any(), 'no probability tests the strict threshold'
    masks = torch.from_numpy(case['phrase_probs']) > 0.5
    np.testing.assert_array_equal(masks, case['phrase_masks'])
    ious = mask_iou(masks, torch.from_numpy(case['gt_masks']).bool())
    np.testing.assert_allclose(ious, case['iou'], rtol=0, atol=1e-6)


def test_phrase_iou_of_metric():
    """The same through the metric, from a data sample's probabilities."""
    case = PPMN.arrays('phrase_pooling')
    targets = torch.from_numpy(case['gt_masks']).bool()
    # An image that is its own canvas: each cell's 4 x 4 pixels are alike.
    masks = targets.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)
    size, num_phrases = tuple(masks.shape[1:]), len(masks)
    sample = dict(
        sample_id='0',
        phrases=[{}] * num_phrases,
        geometry=Geometry(size, size, canvas_shape=size),
        gt_regions=dict(masks=masks, is_thing=torch.ones(num_phrases, dtype=torch.bool)),
        links=torch.arange(num_phrases)[:, None].repeat(1, 2),
        pred_phrases=dict(grid_probs=torch.from_numpy(case['phrase_probs'])),
    )
    metric = PNGMetric(protocol='ppmn')
    metric.process(None, [sample])
    np.testing.assert_allclose(metric.results[0]['ious']['ppmn'], case['iou'], rtol=0, atol=1e-6)


def test_reference_weights_have_the_stated_layout():
    shapes, weights = PPMN.shapes(), PPMN.state_dict()
    assert shapes
    assert {name: list(weight.shape) for name, weight in weights.items()} == shapes
