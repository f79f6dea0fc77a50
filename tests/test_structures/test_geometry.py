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


LETTERBOXED = Geometry(
    (333, 500), (43, 64), offset=(10, 0), flip=True, canvas_shape=(64, 64), ratio=64 / 500
)
CROPPED = Geometry(
    (40, 60), (32, 64), offset=(16, 0), canvas_shape=(64, 64), ratio=3.2, crop=(5, 30, 10, 20)
)


@pytest.mark.parametrize('geometry', [LETTERBOXED, CROPPED])
def test_ratio_and_crop_invert(geometry):
    height, width = geometry.ori_shape
    points = torch.rand(20, 2, dtype=torch.float64) * torch.tensor([width, height])
    torch.testing.assert_close(geometry.inverse_points(geometry.points(points)), points)


def test_a_ratio_holds_for_both_axes():
    box = LETTERBOXED.boxes(torch.tensor([100.0, 50.0, 300.0, 250.0]))
    # 12.8 and 38.4 mirrored in 64; 6.4 and 32 moved by 10.
    torch.testing.assert_close(box, torch.tensor([25.6, 16.4, 51.2, 42.0]))
    assert LETTERBOXED.scale_xy == (0.128, 0.128)
    assert Geometry((10, 20), (5, 12)).scale_xy == (0.6, 0.5)


def test_boxes_of_a_crop():
    boxes = torch.tensor([[32.0, 7, 40, 10], [0, 0, 35, 60], [0, 0, 20, 4]])
    found = CROPPED.boxes(boxes)
    expected = torch.tensor([[6.4, 22.4, 32, 32], [0, 16, 16, 48], [0, 16, 0, 16]])
    torch.testing.assert_close(found, expected)
    # What the crop leaves of a box comes back; outside it nothing can be seen.
    back = CROPPED.inverse_boxes(found)
    torch.testing.assert_close(back[:2], torch.tensor([[32.0, 7, 40, 10], [30, 5, 35, 15]]))
    assert (CROPPED.inverse_boxes(torch.tensor([0.0, 0, 64, 64])) == torch.tensor(
        [30.0, 0, 50, 20]
    )).all()  # fmt: skip


def test_masks_of_a_crop():
    geometry = Geometry(
        (40, 60), (20, 40), offset=(22, 12), canvas_shape=(64, 64), ratio=2.0, crop=(5, 30, 10, 20)
    )
    mask = torch.zeros(1, 40, 60, dtype=torch.bool)
    mask[0, 8:30, 25:42] = True
    canvas = geometry.masks(mask)
    assert canvas.shape == (1, 64, 64)
    # Rows 8 to 15, columns 30 to 42 are seen, twice as large.
    assert (canvas > 0.5).sum() == (7 * 2) * (12 * 2)
    back = geometry.inverse_masks(canvas) > 0.5
    expected = torch.zeros_like(mask)
    expected[0, 8:15, 30:42] = True
    assert torch.equal(back, expected)


def test_cells_of_which_the_corner_lies_on_the_image():
    """Of 40 rows from the 12th on, in cells of 8."""
    geometry = Geometry((40, 64), (40, 64), (12, 0), canvas_shape=(64, 64))
    by_corner, by_centre = (
        geometry.valid_cells((8, 8), anchor)[:, 0].tolist() for anchor in ('corner', 'centre')
    )
    assert by_corner == [False, False, True, True, True, True, True, False]
    assert by_centre == [False, True, True, True, True, True, False, False]
    # The second and the seventh have four rows of it; an image of one row has a cell, too.
    assert geometry.valid_cells((8, 8), 'any')[:, 0].tolist() == [False, *[True] * 6, False]
    thin = Geometry((1, 64), (1, 64), (31, 0), canvas_shape=(64, 64))
    assert thin.valid_cells((8, 8), 'any')[:, 0].nonzero().tolist() == [[3]]
    assert not thin.valid_cells((8, 8)).any()
    # Cells that only touch the image are none of it.
    even = Geometry((16, 64), (16, 64), (16, 0), canvas_shape=(64, 64))
    assert even.valid_cells((8, 8), 'any')[:, 0].nonzero().flatten().tolist() == [2, 3]
    with pytest.raises(ValueError, match=r"anchor must be .*'edge'"):
        geometry.valid_cells((8, 8), 'edge')
