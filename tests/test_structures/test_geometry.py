import pytest
import torch

from mmground.structures import Geometry

CASES = [
    Geometry((10, 20), (10, 20), canvas_shape=(10, 20)),
    Geometry((10, 20), (5, 10), canvas_shape=(32, 32)),
    Geometry((7, 13), (21, 39), offset=(3, 5), canvas_shape=(30, 50)),
    Geometry((8, 16), (12, 24), offset=(2, 0), flip=True, canvas_shape=(32, 24)),
]


@pytest.mark.parametrize('geometry', CASES)
def test_points_and_boxes_invert(geometry):
    height, width = geometry.ori_shape
    points = torch.rand(20, 2) * torch.tensor([width, height])
    there = geometry.points(points)
    torch.testing.assert_close(geometry.inverse_points(there), points)
    boxes = torch.cat((points[:10].minimum(points[10:]), points[:10].maximum(points[10:])), 1)
    mapped = geometry.boxes(boxes)
    assert (mapped[:, 2:] >= mapped[:, :2]).all()
    torch.testing.assert_close(geometry.inverse_boxes(mapped), boxes)


def test_points_by_hand():
    geometry = Geometry((10, 20), (20, 40), offset=(4, 6), flip=True)
    # x: 3 -> 6 -> mirrored in 40 -> 34 -> shifted by 6; y: 2 -> 4 -> shifted by 4
    assert geometry.points(torch.tensor([3.0, 2.0])).tolist() == [40.0, 8.0]
    box = geometry.boxes(torch.tensor([3.0, 2.0, 5.0, 4.0]))
    assert box.tolist() == [36.0, 8.0, 40.0, 12.0]


def test_inverse_boxes_are_clipped_to_the_image():
    geometry = Geometry((10, 20), (10, 20), canvas_shape=(32, 32))
    box = geometry.inverse_boxes(torch.tensor([-3.0, -1.0, 30.0, 31.0]))
    assert box.tolist() == [0.0, 0.0, 20.0, 10.0]


@pytest.mark.parametrize('geometry', CASES)
def test_masks_return_where_they_came_from(geometry):
    height, width = geometry.ori_shape
    masks = torch.zeros(2, height, width, dtype=torch.bool)
    masks[0, : height // 2, : width // 3] = True
    masks[1, height // 3 :, width // 2 :] = True
    canvas = geometry.masks(masks)
    assert tuple(canvas.shape) == (2, *geometry.canvas_shape)
    back = geometry.inverse_masks(canvas) > 0.5
    wrong = (back != masks).flatten(1).sum(1)
    # A reduction to half the size may move a boundary by a pixel.
    assert (wrong <= height + width).all()
    if geometry.img_shape[0] >= height:
        assert (wrong == 0).all()


def test_masks_and_boxes_agree():
    geometry = CASES[3]
    mask = torch.zeros(1, 8, 16, dtype=torch.bool)
    mask[0, 2:6, 4:12] = True
    canvas = geometry.masks(mask)[0] > 0.5
    rows, columns = canvas.nonzero(as_tuple=True)
    box = geometry.boxes(torch.tensor([4.0, 2.0, 12.0, 6.0]))
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert [int(value) for value in found] == box.tolist()


def test_padding_is_background_and_masks_may_be_none():
    geometry = Geometry((4, 4), (4, 4), offset=(2, 3), canvas_shape=(8, 8))
    canvas = geometry.masks(torch.ones(1, 4, 4, dtype=torch.bool))[0]
    assert canvas.sum() == 16
    assert canvas[2:6, 3:7].all()
    assert canvas[geometry.image_area].sum() == 16
    assert geometry.masks(torch.zeros(0, 4, 4, dtype=torch.bool)).shape == (0, 8, 8)
    assert geometry.inverse_masks(torch.zeros(0, 2, 2)).shape == (0, 4, 4)


def test_unknown_canvas_is_an_error():
    with pytest.raises(ValueError, match='on_canvas'):
        Geometry((4, 4), (4, 4)).inverse_masks(torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match='on_canvas'):
        Geometry((4, 4), (4, 4)).valid_cells((2, 2))


def test_valid_cells_are_those_whose_centre_lies_on_the_image():
    geometry = Geometry((9, 9), (5, 6), offset=(2, 0), canvas_shape=(8, 16))
    # Centres of rows at 1, 3, 5, 7, the image from 2 to 7; of columns at 1, 3, ..., 15, up to 6.
    rows, columns = torch.tensor([0, 1, 1, 0]), torch.tensor([1, 1, 1, 0, 0, 0, 0, 0])
    assert torch.equal(geometry.valid_cells((4, 8)), torch.outer(rows, columns).bool())
    # On the grid of the canvas, the image itself.
    canvas = geometry.masks(torch.ones(1, 9, 9, dtype=torch.bool))[0] > 0
    assert torch.equal(geometry.valid_cells((8, 16)), canvas)


def test_cells_of_which_the_corner_lies_on_the_image():
    """Of 40 rows from the 12th on, in cells of 8."""
    geometry = Geometry((40, 64), (40, 64), (12, 0), canvas_shape=(64, 64))
    by_corner, by_centre = (
        geometry.valid_cells((8, 8), anchor)[:, 0].tolist() for anchor in ('corner', 'centre')
    )
    assert by_corner == [False, False, True, True, True, True, True, False]
    assert by_centre == [False, True, True, True, True, True, False, False]
    with pytest.raises(ValueError, match=r"anchor must be .*'edge'"):
        geometry.valid_cells((8, 8), 'edge')
