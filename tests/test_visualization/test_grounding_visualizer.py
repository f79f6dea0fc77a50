import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData

from mmground.registry import VISUALIZERS
from mmground.structures import GroundingDataSample, parse_markup
from mmground.visualization import GroundingVisualizer
from mmground.visualization.grounding_visualizer import _blend, _centers, _free_place
from mmground.visualization.palette import phrase_color

GREY = np.full((60, 80, 3), 128, np.uint8)


def sample_of(markup, masks=None, boxes=None, regions=None, links=None):
    text, phrases = parse_markup(markup)
    sample = GroundingDataSample(metainfo=dict(text=text, phrases=phrases, sample_id='7'))
    if masks is not None or boxes is not None:
        sample.pred_phrases = InstanceData()
    if masks is not None:
        sample.pred_phrases.masks = torch.as_tensor(masks)
    if boxes is not None:
        sample.pred_phrases.bboxes = torch.as_tensor(boxes)
    if regions is not None:
        sample.gt_regions = InstanceData(masks=torch.as_tensor(regions))
        sample.links = torch.as_tensor(links)
    return sample


def left_and_right():
    masks = np.zeros((2, 60, 80), bool)
    masks[0, :, :30] = True
    masks[1, :, 50:] = True
    return masks


@pytest.fixture
def visualizer():
    return GroundingVisualizer()


def count(picture, index):
    """Pixels in the pure colour of a phrase: outline, number, words."""
    return (picture == phrase_color(index)).all(-1).sum()


def test_phrase_and_region_share_a_color(visualizer):
    picture = visualizer.draw(GREY, sample_of('[left] and [right]', left_and_right()))
    assert picture.dtype == np.uint8 and picture.shape[1] == 640 and picture.shape[0] > 480
    for index, x in ((0, 60), (1, 580)):
        expected = (np.array(phrase_color(index)) + 128) / 2
        # Away from the numbers, which stand at the middle of the height.
        assert np.abs(picture[60, x] - expected).max() <= 1
        assert count(picture[480:], index) > 200
        assert count(picture[:480], index) > 200
    assert picture[60, 320].tolist() == [128] * 3


def test_the_image_is_not_changed(visualizer):
    image = np.full((700, 800, 3), 128, np.uint8)
    masks = np.ones((1, 700, 800), bool)
    visualizer.draw(image, sample_of('[all]', masks))
    assert (image == 128).all()


@pytest.mark.parametrize(
    ('shape', 'panel'), [((64, 64), (640, 640)), ((1000, 700), None), ((900, 3200), (450, 1600))]
)
def test_small_images_are_enlarged_and_large_ones_reduced(visualizer, shape, panel):
    image = np.full((*shape, 3), 128, np.uint8)
    picture = visualizer.draw(image, sample_of('[none]', np.zeros((1, *shape), bool)))
    height, width = panel or shape
    grey = (picture == 128).all(-1)
    assert picture.shape[1] >= width
    assert grey[:height].sum() == height * width
    # Below, in the text, only single pixels happen to be of that grey.
    assert grey[height:].sum() < 100


def test_overlapping_masks_mix_their_colors():
    masks = np.zeros((2, 2, 3), bool)
    masks[0, :, :2] = masks[1, :, 1:] = True
    image = np.zeros((2, 3, 3), np.uint8)
    first, second = (np.array(phrase_color(i)) for i in range(2))
    expected = [first * 0.4, (first + second) / 2 * 0.4, second * 0.4]
    for row in _blend(image, masks, 0.4).astype(float):
        assert np.abs(row - expected).max() <= 0.5


def test_ground_truth_and_prediction_side_by_side(visualizer):
    regions = np.zeros((3, 60, 80), bool)
    regions[0, :, :10] = regions[1, :, 20:30] = regions[2, :, 60:] = True
    sample = sample_of(
        '[plural] and [right]', left_and_right(), regions=regions, links=[[0, 0], [0, 1], [1, 2]]
    )
    both = visualizer.draw(GREY, sample)
    truth = visualizer.draw(GREY, sample, draw_pred=False)
    prediction = visualizer.draw(GREY, sample, draw_gt=False)
    neither = visualizer.draw(GREY, sample, draw_gt=False, draw_pred=False)
    assert both.shape[1] > 2 * 640 and truth.shape[1] == prediction.shape[1] == 640
    # A plural is the union of its regions.
    tinted = (np.array(phrase_color(0)) + 128) / 2
    for x, inside in ((40, True), (120, False), (200, True), (320, False)):
        assert (np.abs(truth[60, x] - tinted).max() <= 1) == inside
    assert np.abs(prediction[60, 120] - tinted).max() <= 1
    assert (neither[:480] == 128).all()
    # Titles stand in the white rows above the panels.
    top = int((both == 128).all(-1)[:, 320].argmax())
    assert 10 < top < 60 and (both[:top] < 100).any()
    # The panels are those of the single pictures.
    assert np.array_equal(both[top : top + 480, :640], truth[:480])
    assert np.array_equal(both[top : top + 480, -640:], prediction[:480])


def test_the_panoptic_segmentation_has_a_panel(visualizer):
    # Both phrases are predicted everywhere; merged, the left half is the first's.
    sample = sample_of('[left] and [right]', np.ones((2, 60, 80), bool))
    segment_map = torch.ones(60, 80, dtype=torch.int32)
    segment_map[:, 40:] = 2
    segments = [dict(id=1, phrases=[0]), dict(id=2, phrases=[1])]
    sample.pred_panoptic = BaseDataElement(
        metainfo=dict(segments=segments), segment_map=segment_map
    )
    picture = visualizer.draw(GREY, sample)
    plain = visualizer.draw(GREY, sample, draw_pred=False)
    assert picture.shape[1] > 2 * 640 > plain.shape[1]
    top = picture.shape[0] // 3
    mixed = sum(np.array(phrase_color(index)) for index in (0, 1)) / 4 + 64
    right = picture.shape[1] - 640
    for x, expected in (
        (100, mixed),
        (540, mixed),
        (right + 100, np.array(phrase_color(0)) / 2 + 64),
        (right + 540, np.array(phrase_color(1)) / 2 + 64),
    ):
        assert np.abs(picture[top, x] - expected).max() <= 1

    # A phrase that lost its pixels in the merge is not struck out: it was found.
    lost = dict(segments=[dict(id=1, phrases=[0])])
    before = count(picture[-40:], 1)
    sample.pred_panoptic = BaseDataElement(metainfo=lost, segment_map=segment_map.clamp(max=1))
    assert count(visualizer.draw(GREY, sample)[-40:], 1) == before > 200


def test_a_phrase_without_a_pixel_is_struck_out(visualizer):
    masks = left_and_right()
    full = visualizer.draw(GREY, sample_of('[left] and [right]', masks))
    masks[1] = False
    missing = visualizer.draw(GREY, sample_of('[left] and [right]', masks))
    assert count(missing[480:], 1) < 0.3 * count(full[480:], 1)
    assert count(missing[480:], 0) == count(full[480:], 0)
    assert count(missing[:480], 1) == 0


def test_predicted_boxes(visualizer):
    boxes = [[10.0, 10.0, 40.0, 50.0], [50.0, 0.0, 80.0, 60.0]]
    picture = visualizer.draw(GREY, sample_of('[a] and [b]', boxes=boxes))
    for index, (left, top, right, bottom) in enumerate(np.array(boxes, int) * 8):
        middle = (top + bottom) // 2
        for x in (left, right - 1):
            assert picture[middle, x].tolist() == list(phrase_color(index))
    assert picture[240, 200].tolist() == [128] * 3
    with_masks = visualizer.draw(GREY, sample_of('[a] and [b]', left_and_right(), boxes))
    assert with_masks[240, 80].tolist() == list(phrase_color(0))


def test_twenty_phrases_and_one_more(visualizer):
    masks = np.zeros((21, 120, 210), bool)
    for index in range(21):
        masks[index, :, index * 10 : index * 10 + 10] = True
    image = np.zeros((120, 210, 3), np.uint8)
    markup = ' '.join(f'[thing {index}]' for index in range(21))
    picture = visualizer.draw(image, sample_of(markup, masks))
    assert all(count(picture, index) > 100 for index in range(20))


def test_a_region_of_one_pixel_in_a_large_image_is_shown(visualizer):
    image = np.zeros((3000, 4000, 3), np.uint8)
    masks = np.zeros((1, 3000, 4000), bool)
    masks[0, 1500, 2000] = True
    picture = visualizer.draw(image, sample_of('[a dot]', masks))
    assert count(picture[550:650, 750:850], 0) > 50


def test_numbers_stand_in_every_large_part():
    mask = np.zeros((100, 100), bool)
    mask[10:30, 10:30] = mask[60:90, 60:90] = True
    mask[0, 99] = True
    centers = _centers(mask)
    assert np.allclose(centers, [(75, 75), (20, 20)], atol=1)
    wide = np.zeros((100, 100), bool)
    wide[40:60, 10:90] = True
    assert np.allclose(_centers(wide), [(50, 50)], atol=1)
    assert _centers(np.zeros((5, 5), bool)) == []


def test_numbers_do_not_cover_each_other_or_leave_the_picture():
    taken = []
    for _ in range(12):
        x, y = _free_place((1, 1), (20, 16), (200, 100), taken)
        box = (x - 10, y - 8, x + 10, y + 8)
        assert box[0] >= 0 and box[1] >= 0 and box[2] <= 200 and box[3] <= 100
        for other in taken:
            assert (
                box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1]
            )
        taken.append(box)


def test_pictures_are_written_or_stored(tmp_path):
    config = dict(
        type='GroundingVisualizer',
        name='test_pictures_are_written_or_stored',
        vis_backends=[dict(type='LocalVisBackend')],
        save_dir=str(tmp_path),
    )
    visualizer = VISUALIZERS.build(config)
    sample = sample_of('[left] and [right]', left_and_right())
    visualizer.add_datasample('val', GREY, sample, step=3)
    (stored,) = (tmp_path / 'vis_data' / 'vis_image').iterdir()
    assert stored.name == 'val_3.png'
    path = tmp_path / 'new' / 'picture.png'
    visualizer.add_datasample('val', GREY, sample, out_file=str(path), step=4)
    assert len(list(stored.parent.iterdir())) == 1
    written = cv2.imread(str(path))[..., ::-1]
    assert np.array_equal(written, visualizer.draw(GREY, sample))
    assert visualizer.get_image().shape == written.shape


def test_data_that_does_not_fit_is_refused(visualizer):
    with pytest.raises(
        ValueError, match=r"prediction of sample '7' has masks of shape \(2, 30, 40"
    ):
        visualizer.draw(GREY, sample_of('[a] [b]', left_and_right()[:, ::2, ::2]))
    with pytest.raises(ValueError, match=r'they must be \(1, 60, 80\)'):
        visualizer.draw(GREY, sample_of('[a]', left_and_right()))
    with pytest.raises(ValueError, match='1 boxes for 2 phrases'):
        visualizer.draw(GREY, sample_of('[a] [b]', boxes=[[0.0, 0.0, 1.0, 1.0]]))
    with pytest.raises(ValueError, match=r'RGB, \(H, W, 3\) uint8, got float64'):
        visualizer.draw(GREY / 255, sample_of('[a]'))
    empty = sample_of('[a]')
    empty.pred_phrases = InstanceData(scores=torch.ones(1))
    with pytest.raises(ValueError, match='no masks, bboxes or points'):
        visualizer.draw(GREY, empty)


def test_tensorboard(tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    visualizer = VISUALIZERS.build(
        dict(
            type='GroundingVisualizer',
            vis_backends=[dict(type='TensorboardVisBackend')],
            save_dir=str(tmp_path),
        )
    )
    visualizer.add_scalars(dict(loss=1.5), step=3)
    visualizer.add_datasample('picture', GREY, sample_of('[left]', left_and_right()[:1]), step=3)
    visualizer.close()
    (events,) = tmp_path.rglob('events.*')
    log = EventAccumulator(str(events)).Reload()
    assert log.Scalars('loss')[0].value == 1.5
    assert log.Images('picture')[0].step == 3


def test_without_a_display_there_is_an_error_and_no_window_that_waits(visualizer):
    with pytest.raises(ValueError, match=r'no display.*--out-dir'):
        visualizer.show(np.zeros((4, 4, 3), np.uint8))


def expression_sample(predicted=True, **fields):
    """One expression, annotated and predicted by box and mask."""
    sample = sample_of('[the whole text]')
    mask = torch.zeros(1, 60, 80, dtype=torch.bool)
    mask[0, 20:40, 20:40] = True
    sample.gt_regions = InstanceData(masks=mask, bboxes=torch.tensor([[10.0, 10.0, 50.0, 50.0]]))
    sample.links = torch.tensor([[0, 0]])
    fields = fields or dict(masks=mask.roll(20, 2), bboxes=torch.tensor([[30.0, 10.0, 70.0, 50.0]]))
    sample.pred_phrases = InstanceData(**fields)
    return sample


def box_edge(picture, x1, x2, y):
    """Share of the pixels of a horizontal edge that have the pure colour of the phrase."""
    return (picture[y - 2 : y + 3, x1:x2] == phrase_color(0)).all(-1).any(0).mean()


def test_an_expression_has_box_and_mask_in_both_panels(visualizer):
    sample = expression_sample()
    truth = visualizer.draw(GREY, sample, draw_pred=False)
    prediction = visualizer.draw(GREY, sample, draw_gt=False)
    tinted = (np.array(phrase_color(0)) + 128) / 2
    for picture, left in ((truth, 10), (prediction, 30)):
        assert box_edge(picture, 8 * left + 20, 8 * left + 300, 80) > 0.9
        # A point of the mask, away from its number.
        assert np.abs(picture[180, 8 * (left + 12)] - tinted).max() <= 1
        assert picture[100, 8 * left + 40].tolist() == [128] * 3
        # The expression is the caption.
        assert count(picture[480:], 0) > 200
    both = visualizer.draw(GREY, sample)
    top = both.shape[0] - truth.shape[0]
    assert np.array_equal(both[top : top + 480, :640], truth[:480])
    assert np.array_equal(both[top : top + 480, -640:], prediction[:480])


def test_annotated_boxes_are_left_out_beside_masks_of_narratives(visualizer):
    sample = expression_sample()
    sample.set_metainfo(dict(text=f'{sample.text} and more'))
    truth = visualizer.draw(GREY, sample, draw_pred=False)
    assert box_edge(truth, 100, 380, 80) == 0


def test_annotated_boxes_are_left_out_beside_predictions_without(visualizer):
    masks = torch.ones(1, 60, 80, dtype=torch.bool)
    box = torch.tensor([[30.0, 10.0, 70.0, 50.0]])
    for fields, shown in ((dict(masks=masks), False), (dict(masks=masks, bboxes=box), True)):
        truth = visualizer.draw(GREY, expression_sample(**fields), draw_pred=False)
        assert (box_edge(truth, 100, 380, 80) > 0.9) == shown


def test_a_box_is_found_where_the_mask_is_empty(visualizer):
    box = torch.tensor([[30.0, 10.0, 70.0, 50.0]])
    empty = torch.zeros(1, 60, 80, dtype=torch.bool)
    with_box = visualizer.draw(GREY, expression_sample(masks=empty, bboxes=box))
    without = visualizer.draw(GREY, expression_sample(masks=empty))
    # Struck out is pale.
    assert count(with_box[-60:], 0) > 200 > count(without[-60:], 0)


def test_points_stand_for_what_is_not_localised(visualizer):
    sample = expression_sample(
        scores=torch.ones(1), points_rec=torch.tensor([[60.0, 50.0]]), points_res=torch.ones(1, 2)
    )
    picture = visualizer.draw(GREY, sample, draw_gt=False)
    for x, y in ((60, 50), (1, 1)):
        assert picture[8 * y, 8 * x].tolist() == list(phrase_color(0))
    assert picture[8 * 40, 8 * 60].tolist() == [128] * 3
    assert count(picture[480:], 0) > 200
    sample.pred_phrases.points_rec = torch.ones(1, 2)
    sample.pred_phrases.masks = torch.zeros(1, 60, 80, dtype=torch.bool)
    assert count(visualizer.draw(GREY, sample, draw_gt=False)[:480], 0) == 0
