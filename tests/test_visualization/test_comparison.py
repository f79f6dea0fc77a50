"""Masks of several systems side by side, read back from the picture."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmground.structures import GroundingDataSample
from mmground.visualization import draw_comparison, draw_stage_masks

GREY = 200


def _sample(**truth):
    text = 'a $2 ring'
    sample = GroundingDataSample(
        metainfo=dict(
            sample_id='7', text=text, phrases=[dict(text=text, span=(0, 9))], ori_shape=(40, 40)
        )
    )
    sample.gt_regions = InstanceData(**truth)
    sample.links = torch.tensor([[0, 0]])
    return sample


def _mask(rows):
    mask = torch.zeros(1, 40, 40, dtype=torch.bool)
    mask[:, :rows] = True
    return mask


def _red_share(picture, left, right):
    """Share of clearly red pixels in a part of the picture's width."""
    part = picture[:, int(left * picture.shape[1]) : int(right * picture.shape[1])].astype(int)
    return ((part[..., 0] - part[..., 2]) > 60).mean()


def test_each_panel_shows_its_mask():
    image = np.full((40, 40, 3), GREY, np.uint8)
    predictions = {
        'none': InstanceData(masks=torch.zeros(1, 40, 40, dtype=torch.bool)),
        'all': InstanceData(masks=_mask(40)),
    }
    picture = draw_comparison(image, _sample(masks=_mask(10)), 0, predictions, {'all': 'IoU 0.25'})
    shares = [_red_share(picture, i / 4, (i + 1) / 4) for i in range(4)]
    assert shares[0] == 0 and shares[2] == 0
    assert 0.1 < shares[1] < 0.3
    assert shares[3] > 3 * shares[1]


def test_boxes_are_drawn_where_there_are_no_masks():
    image = np.full((40, 40, 3), GREY, np.uint8)
    box = torch.tensor([[5.0, 5.0, 30.0, 20.0]])
    sample = _sample(bboxes=box)
    picture = draw_comparison(image, sample, 0, {'ours': InstanceData(bboxes=box)})
    assert _red_share(picture, 0, 1 / 3) == 0
    assert 0 < _red_share(picture, 1 / 3, 2 / 3) < 0.1
    assert 0 < _red_share(picture, 2 / 3, 1) < 0.1


def test_an_image_of_another_size():
    with pytest.raises(ValueError, match=r"sample '7' must be RGB, uint8, of the size \(40, 40\)"):
        draw_comparison(np.zeros((9, 9, 3), np.uint8), _sample(masks=_mask(3)), 0, {})


@pytest.mark.parametrize('annotated', [True, False])
def test_masks_of_stages(annotated):
    image = np.full((40, 40, 3), GREY, np.uint8)
    sample = _sample(masks=_mask(40))
    if not annotated:
        del sample.gt_regions
    masks = torch.cat([_mask(rows) for rows in (0, 10, 40)])[None]
    sample.pred_phrases = InstanceData(stage_masks=masks)
    picture = draw_stage_masks(image, sample)
    count = 5 if annotated else 4
    shares = [_red_share(picture, i / count, (i + 1) / count) for i in range(count)]
    before, first, second = shares[-3:]
    assert before == 0 and 0 < 3 * first < second
    assert (shares[1] > 3 * first) == annotated


def test_stages_that_were_not_kept():
    sample = _sample(masks=_mask(3))
    sample.pred_phrases = InstanceData(masks=_mask(3))
    with pytest.raises(ValueError, match="sample '7' has no masks of stages: set keep_stages=True"):
        draw_stage_masks(np.zeros((40, 40, 3), np.uint8), sample)
