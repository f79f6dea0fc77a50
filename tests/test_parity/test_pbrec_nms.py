"""The IoU-based NMS of PBREC against numbers of the official implementation."""

import numpy as np
import pytest
import torch
from parity_data import ParityData

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

STRIDE, CANVAS = 32, 640
K = 12


@pytest.fixture(scope='module')
def arrays():
    return {
        name: torch.from_numpy(array) if array.dtype.kind != 'U' else array
        for name, array in ParityData('pbrec').arrays('nms').items()
    }


@pytest.fixture(scope='module')
def boxes(arrays):
    """All boxes of the cases, (4, 400, 4)."""
    centres = (torch.arange(CANVAS // STRIDE) + 0.5) * STRIDE
    y, x = torch.meshgrid(centres, centres, indexing='ij')
    points = torch.stack((x.flatten(), y.flatten()), -1)
    distances = arrays['distances'].flatten(2).transpose(1, 2)
    return boxes_from_distances(points, distances, (CANVAS, CANVAS))


def test_boxes_of_the_points(arrays, boxes):
    torch.testing.assert_close(boxes, arrays['boxes'], atol=1e-4, rtol=0)


@pytest.mark.parametrize(('mode', 'name'), [('ref', 'ref'), ('ref*centerness', 'ref_ctr')])
def test_boxes(arrays, boxes, mode, name):
    centerness = arrays['centerness_logits'].flatten(1).sigmoid()
    scores = ranking_scores(arrays['score_logits'].sigmoid(), centerness, mode)
    # The official code also ranks points on padding.
    found = top_candidates(scores, K)
    assert torch.equal(found.index, arrays[f'{name}_topk'])
    rows = torch.arange(len(boxes))
    own = boxes[rows[:, None], found.index]
    ious = pairwise_box_ious(own)
    for form, include_self in (('official', False), ('eq7', True)):
        overlaps = overlap_scores(ious, include_self=include_self)
        torch.testing.assert_close(overlaps, arrays[f'{name}_overlap_{form}'], atol=1e-5, rtol=0)
        best = iou_nms(ious, include_self=include_self)
        assert torch.equal(best, arrays[f'{name}_best_{form}'])
        torch.testing.assert_close(own[rows, best], arrays[f'{name}_box_{form}'], atol=1e-4, rtol=0)
    degenerate = arrays['case_names'].tolist().index('degenerate')
    assert [arrays[f'{name}_best_{form}'][degenerate].item() for form in ('official', 'eq7')] == [
        0,
        1,
    ]


@pytest.mark.parametrize(
    ('suffix', 'settings'),
    [
        ('', {}),
        ('_align_corners', dict(align_corners=True)),
        ('_logit_first', dict(interpolation='logits')),
    ],
)
def test_scores_on_the_grid_of_the_masks(arrays, suffix, settings):
    logits = arrays['mass_logits'].view(1, 20, 20)
    scores = interpolate_scores(logits, (24, 24), **settings)
    expected = arrays[f'mass_score576{suffix}']
    torch.testing.assert_close(scores.flatten(), expected, atol=1e-6, rtol=0)


def test_masks(arrays):
    scores = interpolate_scores(arrays['mass_logits'].view(1, 20, 20), (24, 24)).flatten(1)
    found = top_candidates(ranking_scores(scores, None, 'ref'), K)
    assert torch.equal(found.index[0], arrays['mask_topk'])
    masks = arrays['mask_prob_u8'][found.index] / 255 > 0.5
    ious = pairwise_mask_ious(masks)
    for form, include_self in (('noself', False), ('eq7', True)):
        overlaps = overlap_scores(ious, include_self=include_self)
        expected = arrays[f'mask_overlap_{form}']
        torch.testing.assert_close(overlaps[0].to(expected.dtype), expected, atol=1e-6, rtol=0)
    best = iou_nms(ious)
    assert best.item() == arrays['mask_best'].item()
    assert found.index[0, best].item() == arrays['mask_best_point'].item()
    expected = np.unpackbits(arrays['mask_best_packed'].numpy(), axis=-1).astype(bool)
    assert torch.equal(masks[0, best][0], torch.from_numpy(expected))
