"""Pictures of predictions that are made by hand, read back pixel by pixel."""

import matplotlib
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from referring_factory import rectangle

from mmground.structures import Geometry, GroundingDataSample
from mmground.visualization import (
    draw_point_maps,
    draw_proposals,
    missing_point_pictures,
    points,
)

GREY = 200
RED, BLUE, GREEN, YELLOW = (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 0)


def image():
    return np.full((32, 32, 3), GREY, np.uint8)


def make_sample(annotated=False):
    """An image of 32 x 32 pixels in the upper half of a canvas of 64 x 128: a grid of 4 x 8."""
    geometry = Geometry((32, 32), (64, 64), canvas_shape=(64, 128))
    text = 'the $red_1$ star'
    phrases = [dict(text=text, span=(0, len(text)))]
    sample = GroundingDataSample(
        metainfo=dict(sample_id='s', text=text, phrases=phrases, geometry=geometry)
    )
    scores = torch.zeros(1, 4, 8)
    # The lower left of the image; what is beyond it, on the padding, is not seen.
    scores[0, 2:, :2], scores[0, :, 6:] = 0.4, 0.9
    sample.pred_phrases = InstanceData(
        point_scores_rec=scores, points_rec=torch.tensor([[12.0, 20.0]])
    )
    if annotated:
        sample.gt_regions = InstanceData(
            bboxes=torch.tensor([[4.0, 4.0, 12.0, 28.0]]),
            masks=rectangle((4, 4, 12, 28), (32, 32))[None],
        )
        sample.links = torch.tensor([[0, 0]])
    return sample


def add_candidates(sample, choice=2):
    boxes = [[2, 2, 10, 10], [14, 2, 22, 10], [2, 16, 30, 30]]
    predicted = sample.pred_phrases
    predicted.box_candidates = torch.tensor(boxes, dtype=torch.float32)[None]
    predicted.box_candidate_scores = torch.tensor([[0.9, 0.8, 0.25]])
    predicted.box_choice = torch.tensor([choice])
    predicted.mask_candidates = torch.stack([rectangle(box, (32, 32)) for box in boxes])[None]
    predicted.mask_candidate_scores = torch.tensor([[0.9, 0.8, 0.25]])
    predicted.mask_choice = torch.tensor([choice])
    return sample


def panels(picture, color):
    """The areas on a ground of a colour, left to right, each resized to the image's pixels."""
    ground = (np.abs(picture.astype(int) - color) <= 1).all(-1)
    # An upright line leaves some of the ground of its columns.
    columns = ground.mean(0) > 0.1
    edges = np.flatnonzero(np.diff(np.concatenate(([0], columns.astype(int), [0]))))
    areas = []
    for start, stop in edges.reshape(-1, 2):
        if stop - start < 100:
            continue
        rows = np.flatnonzero(ground[:, start:stop].mean(1) > 0.2)
        areas.append(picture[rows[0] : rows[-1] + 1, start:stop])
    return areas


def extent_of(area, color):
    """xyxy of a colour on a panel, in pixels of the image."""
    rows, columns = np.nonzero((np.abs(area.astype(int) - color) < 60).all(-1))
    scale = 32 / np.array(area.shape[1::-1])
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()])
    return [*(low * scale), *(high * scale)]


def test_maps_have_the_scale_of_the_image():
    sample = make_sample()
    picture = draw_point_maps(image(), sample)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    low, high = (
        0.4 * 0.9 * GREY + 0.6 * 255 * np.array(matplotlib.colormaps['inferno'](value)[:3])
        for value in (0.0, 1.0)
    )
    (area,) = panels(picture, np.trunc(low))
    # 0.4 is the largest on the image: the brightest colour is at the lower left of it.
    place = extent_of(area, high)
    assert place[0] < 1 and place[3] > 31
    assert 8 < place[2] < 17 and 15 < place[1] < 24
    assert (np.abs(area[: len(area) // 3] - low) <= 2).all(-1).mean() > 0.9
    # The ring of the best point: white around (12, 20).
    ring = extent_of(area, (255, 255, 255))
    assert (ring[0] + ring[2]) / 2 == pytest.approx(12, abs=0.5)
    assert (ring[1] + ring[3]) / 2 == pytest.approx(20, abs=0.5)


def titles_of(monkeypatch, draw, sample):
    titles, set_title = [], points.set_title
    monkeypatch.setattr(
        points, 'set_title', lambda axes, text: (titles.append(text), set_title(axes, text))
    )
    draw(image(), sample)
    return titles


def test_titles_of_maps(monkeypatch):
    sample = make_sample()
    sample.pred_phrases.cls_attention = torch.full((1, 4, 8), 0.02)
    sample.pred_phrases.point_scores_res = torch.full((1, 4, 8), 0.3)
    sample.pred_phrases.points_res = torch.tensor([[4.0, 4.0]])
    assert titles_of(monkeypatch, draw_point_maps, sample) == [
        '[CLS] attention, largest 0.02\n64% of it on the points',
        'center-ness, largest 0.4\n4 x 8 points',
        'mass-ness, largest 0.3\n4 x 8 points',
    ]


def test_colours_of_proposals():
    picture = draw_proposals(image(), add_candidates(make_sample()))
    boxes, masks = panels(picture, (round(0.8 * GREY),) * 3)
    for area in (boxes, masks):
        # Number 2 is red, the best one blue, the result green.
        np.testing.assert_allclose(extent_of(area, RED), (14, 2, 22, 10), atol=0.6)
        np.testing.assert_allclose(extent_of(area, BLUE), (2, 2, 10, 10), atol=0.6)
        np.testing.assert_allclose(extent_of(area, GREEN), (2, 16, 30, 30), atol=0.6)


def test_the_best_one_can_be_the_result(monkeypatch):
    sample = add_candidates(make_sample(), choice=0)
    boxes, _ = panels(draw_proposals(image(), sample), (round(0.8 * GREY),) * 3)
    for color in (BLUE, GREEN):
        np.testing.assert_allclose(extent_of(boxes, color), (2, 2, 10, 10), atol=1.2)
    np.testing.assert_allclose(extent_of(boxes, RED), (2, 2, 30, 30), atol=12.6)
    titles = titles_of(monkeypatch, draw_proposals, sample)
    assert titles == [
        f'3 {kind}, best score 0.9\nthe result is number 1, score 0.9'
        for kind in ('boxes', 'masks')
    ]


def test_the_annotation_stands_on_the_image():
    picture = draw_proposals(image(), add_candidates(make_sample(annotated=True)))
    area = panels(picture, (GREY,) * 3)[0]
    np.testing.assert_allclose(extent_of(area, YELLOW), (4, 4, 12, 28), atol=0.6)
    plain = draw_proposals(image(), add_candidates(make_sample()))
    assert not (plain == YELLOW).all(-1).any()


def test_masks_that_are_empty_or_reach_the_border():
    sample = add_candidates(make_sample(), choice=1)
    masks = sample.pred_phrases.mask_candidates
    masks[0, 1], masks[0, 2] = True, False
    _, area = panels(draw_proposals(image(), sample), (round(0.8 * GREY),) * 3)
    np.testing.assert_allclose(extent_of(area, GREEN), (0, 0, 32, 32), atol=0.6)
    assert not (np.abs(area.astype(int) - RED) < 60).all(-1).any()


def test_page_title_and_panel_titles_do_not_meet(monkeypatch):
    figures, render = [], points.render_figure
    monkeypatch.setattr(
        points, 'render_figure', lambda figure: (figures.append(figure), render(figure))[1]
    )
    draw_proposals(image(), add_candidates(make_sample(annotated=True)))
    (figure,) = figures
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    heading = figure._suptitle.get_window_extent()
    assert not any(heading.overlaps(box) for box in boxes)


def test_mistakes():
    sample = make_sample()
    with pytest.raises(ValueError, match=r"image of sample 's' must be RGB.*\(32, 32, 3\)"):
        draw_point_maps(image()[:16], sample)
    with pytest.raises(ValueError, match='no candidates to draw'):
        draw_proposals(image(), sample)
    assert 'no localisers' in missing_point_pictures(sample)['proposals']
    assert missing_point_pictures(add_candidates(sample)) == {}
    sample.pred_phrases = InstanceData(scores=torch.ones(1))
    with pytest.raises(ValueError, match='no point scores to draw'):
        draw_point_maps(image(), sample)
