import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmground.structures import GroundingDataSample, parse_markup
from mmground.visualization import (
    GroundingVisualizer,
    PhrasePanel,
    draw_box_comparison,
    draw_box_refinement,
    draw_object_graph,
    missing_box_pictures,
)
from mmground.visualization.palette import phrase_color

GREY = np.full((64, 64, 3), 128, np.uint8)
# Pictures are ten times enlarged, below a line of 32 pixels for titles.
TOP = 32
BOXES = torch.tensor([[10.0, 20.0, 30.0, 40.0], [40.0, 10.0, 60.0, 30.0], [35.0, 45.0, 55.0, 60.0]])


def sample_of(relations=None, weights=None, gt=False):
    text, phrases = parse_markup('[one] and [two] and [three]')
    sample = GroundingDataSample(metainfo=dict(sample_id='7', text=text, phrases=phrases))
    sample.pred_phrases = InstanceData(bboxes=BOXES, bboxes_initial=BOXES - 5)
    if relations is not None:
        sample.relations = torch.tensor(relations, dtype=torch.int64).reshape(-1, 2)
    if weights is not None:
        sample.pred_phrases.graph_weights = torch.tensor(weights)
    if gt:
        sample.gt_regions = InstanceData(bboxes=BOXES.flip(0))
        sample.links = torch.tensor([[0, 2], [1, 1], [2, 0]])
    return sample


def share(picture, index, row, columns):
    """How much of a horizontal line of a picture has the colour of a phrase."""
    line = picture[TOP + row - 2 : TOP + row + 3, slice(*columns)]
    return (line == phrase_color(index)).all(-1).any(0).mean()


def test_boxes_are_solid_and_what_they_came_from_is_dashed():
    picture = draw_box_refinement(GREY, sample_of())
    assert picture.shape[1] == 640
    for index, (box, before) in enumerate(zip(BOXES * 10, BOXES * 10 - 50, strict=True)):
        # Of the lower edges, the part that the other box does not cross.
        left, _, right, bottom = box.int().tolist()
        assert share(picture, index, bottom - 1, (left + 10, right - 10)) == 1
        left, _, _, bottom = before.int().tolist()
        assert 0.3 < share(picture, index, bottom - 1, (left, left + 46)) < 0.9
    # The other's boxes are dashed where they are.
    other = draw_box_comparison(GREY, sample_of(), BOXES - 5)
    assert np.array_equal(picture[TOP:], other[TOP:])
    assert not np.array_equal(picture, other)


def test_the_annotation_has_a_panel_and_the_text_tells_how_well_boxes_fit(monkeypatch):
    told = {}
    draw = GroundingVisualizer.draw_panels

    def spy(self, image, sample, panels, **kwargs):
        told.update(kwargs, panels=panels)
        return draw(self, image, sample, panels, **kwargs)

    monkeypatch.setattr(GroundingVisualizer, 'draw_panels', spy)
    picture = draw_box_refinement(GREY, sample_of(gt=True))
    assert picture.shape[1] > 2 * 640
    assert [panel.title for panel in told['panels']] == [
        'Annotation',
        'Proposals (dashed) and refined boxes',
    ]
    # 15 of 20 in each direction.
    before = 225 / (2 * 400 - 225)
    assert told['notes'][0] == f'IoU {before:.2f} to 1.00'


def test_arrows_carry_the_colour_of_where_they_come_from():
    weights = [[0.0, 1.0, 0.0], [0.4, 0.0, 0.6], [0.0, 0.0, 0.0]]
    sample = sample_of([[0, 1], [1, 2]], weights)
    picture = draw_object_graph(GREY, sample)
    plain = GroundingVisualizer().draw_panels(
        GREY,
        sample,
        [PhrasePanel('', boxes=[box[None].numpy() for box in BOXES], edges=np.full((3, 3), -1.0))],
    )
    changed = (picture != plain).any(-1)
    changed[:TOP] = changed[TOP + 640 :] = False
    assert changed.sum() > 2000

    def more(color):
        """How many pixels outside of boxes and numbers an arrow has."""
        return (changed & (picture == color).all(-1)).sum()

    one, two, three = (more(phrase_color(index)) for index in range(3))
    # From 1 to 2 by 0.4, from 2 to 1 by 1, from 3 to 2 by 0.6, and from 2 to 3 nothing.
    assert two > one > 300 and three > 200
    assert more((150, 150, 150)) > 50
    # Nothing lies between 1 and 3.
    centers = ((BOXES[0, :2] + BOXES[2, 2:]) / 2 * 10).int().tolist()
    around = changed[TOP + centers[1] - 40 : TOP + centers[1] + 40, centers[0] - 40 : centers[0]]
    assert around.mean() < 0.5


def test_nodes_that_share_a_box_are_kept_apart():
    sample = sample_of([[0, 1]], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    sample.pred_phrases.bboxes = BOXES[[0, 0, 0]]
    picture = draw_object_graph(GREY, sample)
    for index in range(2):
        assert (picture[TOP : TOP + 640] == phrase_color(index)).all(-1).sum() > 300


def test_what_is_missing_is_said():
    weights = [[0.0] * 3] * 3
    for sample, reason in (
        (sample_of([[0, 1]]), 'no object graph'),
        (sample_of(None, weights), 'no relations'),
        (sample_of([], weights), 'no relations'),
    ):
        assert reason in missing_box_pictures(sample)['graph']
        with pytest.raises(ValueError, match=reason):
            draw_object_graph(GREY, sample)
    assert missing_box_pictures(sample_of([[0, 1]], weights)) == {}
    sample = sample_of()
    del sample.pred_phrases.bboxes_initial
    with pytest.raises(ValueError, match='no initial boxes'):
        draw_box_refinement(GREY, sample)
    with pytest.raises(ValueError, match='2 dashed boxes for 3 phrases'):
        draw_box_comparison(GREY, sample_of(), BOXES[:2])
    panel = PhrasePanel('Graph', boxes=[box[None].numpy() for box in BOXES], edges=np.eye(2))
    with pytest.raises(ValueError, match=r'edges of shape \(2, 2\) for 3 phrases'):
        GroundingVisualizer().draw_panels(GREY, sample_of(), [panel])
