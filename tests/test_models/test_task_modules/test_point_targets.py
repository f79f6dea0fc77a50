import math

import pytest
import torch

from mmground.models.task_modules import centerness_target, massness_target

STRIDE = 8
FORMS = ('official', 'paper', 'fixed')


def _naive_centerness(box, grid, form):
    """Point by point."""
    x1, y1, x2, y2 = box
    centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
    if form == 'official':
        # In cells, widened to whole ones.
        edges = [math.floor(x1 / STRIDE), math.floor(y1 / STRIDE)]
        edges += [math.ceil(x2 / STRIDE), math.ceil(y2 / STRIDE)]
        x1, y1, x2, y2 = (edge * STRIDE for edge in edges)
    middle = math.floor(centre_x / STRIDE), math.floor(centre_y / STRIDE)
    target = [[0.0] * grid[1] for _ in range(grid[0])]
    for row in range(grid[0]):
        for column in range(grid[1]):
            x, y = (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
            if form == 'official':
                near = max(abs(column - middle[0]), abs(row - middle[1])) <= 1 and min(middle) > 0
            else:
                near = max(abs(x - centre_x), abs(y - centre_y)) < 1.5 * STRIDE
            left, right, top, bottom = x - x1, x2 - x, y - y1, y2 - y
            if near and min(left, right, top, bottom) > 0:
                ratio = min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)
                target[row][column] = math.sqrt(ratio)
    highest = max(map(max, target))
    if form == 'official' and highest:
        target = [[value / highest for value in row] for row in target]
    if form == 'fixed' and not highest:
        target[min(middle[1], grid[0] - 1)][min(middle[0], grid[1] - 1)] = 1.0
    return target


def _naive_massness(mask, form):
    pixels = mask.nonzero().tolist()
    row = sum(y for y, _ in pixels) / len(pixels)
    column = sum(x for _, x in pixels) / len(pixels)
    height, width = (size // STRIDE for size in mask.shape)
    if form == 'official':
        low_y, low_x = round(row) - 2 * STRIDE, round(column) - 2 * STRIDE
        high_y, high_x = low_y + 4 * STRIDE, low_x + 4 * STRIDE
        pixels = [(y, x) for y, x in pixels if low_y <= y < high_y and low_x <= x < high_x]
    means = [[0.0] * width for _ in range(height)]
    for y, x in pixels:
        means[y // STRIDE][x // STRIDE] += 1 / STRIDE**2
    if form == 'official':
        return means
    target = [list(values) for values in means]
    for j in range(height):
        for i in range(width):
            if math.dist(((j + 0.5) * STRIDE, (i + 0.5) * STRIDE), (row, column)) > 2 * STRIDE:
                target[j][i] = 0.0
    if form == 'fixed' and not any(map(any, target)):
        best = max(map(max, means))
        j, i = next((j, i) for j in range(height) for i in range(width) if means[j][i] == best)
        target[j][i] = 1.0
    return target


def _random_boxes(num, width, height):
    generator = torch.Generator().manual_seed(0)
    # Eighths of a pixel, which float32 holds exactly.
    sizes = torch.randint(1, 8 * 40, (num, 2), generator=generator) / 8
    room = torch.tensor([width, height]) - sizes
    corners = (torch.rand(num, 2, generator=generator) * room * 8).floor() / 8
    return torch.cat((corners, corners + sizes), 1)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('grid', [(8, 8), (6, 9)])
def test_centerness_point_by_point(grid, form):
    boxes = _random_boxes(60, grid[1] * STRIDE, grid[0] * STRIDE)
    target = centerness_target(boxes, grid, STRIDE, form)
    assert target.dtype == torch.float32
    expected = torch.tensor([_naive_centerness(box, grid, form) for box in boxes.tolist()])
    torch.testing.assert_close(target, expected, atol=1e-6, rtol=0)
    empty = (target == 0).flatten(1).all(1)
    assert empty.any() == (form != 'fixed')


@pytest.mark.parametrize('form', FORMS)
def test_massness_pixel_by_pixel(form):
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(12, 48, 64, generator=generator) > 0.4
    masks[:6] &= torch.rand(6, 48, 1, generator=generator) > 0.7
    masks[6:, :, :40] = False
    # A ring around its centroid, of which the area of the positive points sees nothing.
    masks[0] = True
    masks[0, 1:47, 1:63] = False
    target = massness_target(masks, STRIDE, form)
    assert target.shape == (12, 6, 8)
    expected = torch.tensor([_naive_massness(mask, form) for mask in masks])
    torch.testing.assert_close(target, expected, atol=1e-6, rtol=0)
    assert target[0].any() == (form == 'fixed')


def test_what_the_paper_leaves_empty_gets_one_point():
    # Inside a cell beside its centre; in the last cell of the canvas; in the first.
    boxes = torch.tensor([[17.0, 25.0, 19.0, 27.0], [62.0, 62.0, 64.0, 64.0], [0.0, 0.0, 3.0, 3.0]])
    assert not centerness_target(boxes, (8, 8), STRIDE, 'paper').any()
    fixed = centerness_target(boxes, (8, 8), STRIDE, 'fixed')
    assert fixed.nonzero().tolist() == [[0, 3, 2], [1, 7, 7], [2, 0, 0]]
    assert (fixed.amax((1, 2)) == 1).all()


def test_the_official_form_finds_nothing_in_the_first_row_and_column():
    """A slip of the official code, which begins a slice at -1."""
    boxes = torch.tensor(
        [[2.0, 20.0, 10.0, 40.0], [20.0, 2.0, 40.0, 10.0], [50.0, 50.0, 63.0, 63.0]]
    )
    target = centerness_target(boxes, (8, 8), STRIDE, 'official')
    assert target.flatten(1).any(1).tolist() == [False, False, True]
    assert centerness_target(boxes, (8, 8), STRIDE, 'fixed').flatten(1).any(1).all()


def test_targets_do_not_depend_on_their_batch():
    boxes = _random_boxes(5, 64, 64)
    masks = torch.rand(5, 64, 64, generator=torch.Generator().manual_seed(1)) > 0.5
    for form in FORMS:
        centres, masses = (
            centerness_target(boxes, (8, 8), STRIDE, form),
            massness_target(masks, STRIDE, form),
        )
        for index in range(5):
            own = slice(index, index + 1)
            assert torch.equal(centres[own], centerness_target(boxes[own], (8, 8), STRIDE, form))
            assert torch.equal(masses[own], massness_target(masks[own], STRIDE, form))


def test_no_targets_at_all():
    assert centerness_target(torch.zeros(0, 4), (8, 8), STRIDE).shape == (0, 8, 8)
    assert massness_target(torch.zeros(0, 64, 64, dtype=torch.bool), STRIDE).shape == (0, 8, 8)


def test_errors():
    box, mask = torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.ones(1, 64, 64, dtype=torch.bool)
    for degenerate in (
        [[5.0, 5.0, 5.0, 9.0]],
        [[9.0, 9.0, 5.0, 12.0]],
        [[float('nan'), 0.0, 9.0, 9.0]],
    ):
        with pytest.raises(ValueError, match='no area'):
            centerness_target(torch.cat((box, torch.tensor(degenerate))), (8, 8), STRIDE)
    with pytest.raises(ValueError, match='no pixel'):
        massness_target(torch.cat((mask, ~mask)), STRIDE)
    with pytest.raises(ValueError, match='64 x 60 pixels has no whole number of cells of 8'):
        massness_target(mask[..., :60], STRIDE)
    for call in (
        lambda: centerness_target(box, (8, 8), STRIDE, 'soft'),
        lambda: massness_target(mask, STRIDE, 'soft'),
    ):
        with pytest.raises(ValueError, match=r"form must be one of .*'soft'"):
            call()
