"""Soft targets on a grid of points: how well a point stands for the referred object.

Both maps of `Rethinking Two-Stage Referring Expression Comprehension
<https://github.com/VILAN-Lab/PBREC-MT>`_ (PBREC), in three forms:

- ``'official'``: that of the official code, bit by bit, with its peculiarities;
- ``'paper'``: Eqs. 1-4;
- ``'fixed'``: Eqs. 1-4, except that a map without a positive point gets one.

The hard targets of the paper's Table 4 are any of these as 0 or 1: ``target > 0``.

Point (row j, column i) of a grid of stride g stands for the cell of g x g pixels of the canvas
with the centre ``((i + 0.5) g, (j + 0.5) g)``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

FORMS = ('official', 'paper', 'fixed')


def centerness_target(
    boxes: Tensor, grid: tuple[int, int], stride: int, form: str = 'official'
) -> Tensor:
    """How central each point is to the referred box.

    In the paper (Eqs. 1-2), points within 1.5 cells of the box centre along each axis, and inside
    the box, have ``sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))``, l, r, t and b being their
    distances to the edges; the others zero. A box that holds no cell centre has an empty map;
    with ``form='fixed'`` it has 1 at the cell of its centre.

    The official code takes the 3 x 3 cells around that of the box centre, which are the same. It
    widens the box to whole cells before it takes the distances, so that a map is not empty, and
    divides by the map's maximum. Around a centre in the first row or column it finds no cells at
    all: that map is zero. This form computes in float32, as the code does: a box edge on the border
    of a cell may fall on either side.

    Args:
        boxes: The referred boxes, xyxy in pixels of the canvas. Shape (T, 4).
        grid: Rows and columns (h, w) of points.
        stride: Pixels between neighbouring points.
        form: ``'official'``, ``'paper'`` or ``'fixed'``.

    Returns:
        Values in [0, 1], float32. Shape (T, h, w).

    Raises:
        ValueError: If a box has no area, or there is no such form.
    """
    _check_form(form)
    # Written so that NaN fails as well.
    has_area = (boxes[:, :2] < boxes[:, 2:]).all(1)
    if not has_area.all():
        box = boxes[~has_area][0].tolist()
        raise ValueError(f'the referred box {box} (xyxy, pixels of the canvas) has no area')
    if form == 'official':
        return _official_centerness(boxes.float(), grid, stride)
    boxes = boxes.double()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    rows, columns = ((torch.arange(size, device=boxes.device) + 0.5) * stride for size in grid)
    # Factors of Eq. 2, of all columns and of all rows.
    factors = []
    for axis, points in enumerate((columns, rows)):
        factor = _balance(points - boxes[:, axis, None], boxes[:, axis + 2, None] - points)
        near = (points - centres[:, axis, None]).abs() < 1.5 * stride
        factors.append(factor * near)
    target = (factors[1][:, :, None] * factors[0][:, None]).sqrt()
    if form == 'fixed':
        _fill_empty(target, _cells_of(centres, grid, stride))
    return target.float()


def massness_target(masks: Tensor, stride: int, form: str = 'official') -> Tensor:
    """Which part of each point's cell the referred mask covers.

    In the paper (Eqs. 3-4), the points within two cells of the centroid of the mask have the
    fraction of their cell that is foreground; the others zero. Where a bent mask has no foreground
    around its centroid, the map is empty; with ``form='fixed'`` the cell with most foreground
    has 1 there.

    The official code rounds the centroid to a pixel, drops the foreground outside of the window
    ``[c - 2 g, c + 2 g)`` of pixels along each axis, and takes the fractions of what is left: the
    area is a square, and cells on its border are attenuated.

    As in the official code, the centroid is a mean of pixel indices (not of pixel centres). Of a
    given mask the official form is the code's bit by bit; but the code rasterises the polygon on
    the canvas, while :class:`PointGroundingHead` maps the mask of the original image there: along
    the outline pixels differ, and cells by the fraction that these are.

    Args:
        masks: The referred masks on the canvas, boolean. Shape (T, H, W), multiples of the stride.
        stride: g, pixels between neighbouring points.
        form: ``'official'``, ``'paper'`` or ``'fixed'``.

    Returns:
        Values in [0, 1], float32. Shape (T, H / g, W / g).

    Raises:
        ValueError: If a mask is empty, if the canvas has no whole number of cells, or there is no
            such form.
    """
    _check_form(form)
    height, width = masks.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(
            f'a canvas of {height} x {width} pixels has no whole number of cells of {stride} pixels'
        )
    centroids = _centroids(masks)
    if not centroids.isfinite().all():
        raise ValueError('a referred mask has no pixel on the canvas: there is no centroid')
    if form == 'official':
        centroids = centroids.round()
        window = []
        for axis, size in ((1, height), (0, width)):
            distance = torch.arange(size, device=masks.device) - centroids[:, axis, None]
            window.append((distance >= -2 * stride) & (distance < 2 * stride))
        return _cell_means(masks & window[0][:, :, None] & window[1][:, None], stride)
    means = _cell_means(masks, stride)
    # In float64, as the centroids.
    rows, columns = (
        (torch.arange(size, device=masks.device) + 0.5) * stride for size in means.shape[-2:]
    )
    distance = torch.hypot(
        (rows - centroids[:, 1, None])[:, :, None], (columns - centroids[:, 0, None])[:, None]
    )
    target = means * (distance <= 2 * stride)
    if form == 'fixed':
        _fill_empty(target, means.flatten(1).argmax(1))
    return target


def _check_form(form: str) -> None:
    if form not in FORMS:
        raise ValueError(f'form must be one of {FORMS}, got {form!r}')


def _official_centerness(boxes: Tensor, grid: tuple[int, int], stride: int) -> Tensor:
    cells = boxes.new_tensor([grid[1], grid[0]])
    # Relative to the canvas and back, because float32 is not the same without it.
    canvas = cells * stride
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / canvas * cells
    halves = (boxes[:, 2:] - boxes[:, :2]) / canvas * cells / 2
    low, high = (centres - halves).floor(), (centres + halves).ceil()
    middle = centres.int()
    factors = []
    for axis in range(2):
        index = torch.arange(grid[1 - axis], device=boxes.device)
        factor = _balance(index + 0.5 - low[:, axis, None], high[:, axis, None] - index - 0.5)
        around = (index - middle[:, axis, None]).abs() <= 1
        # The slice around index 0 begins at -1, the end, and is empty.
        factors.append(factor * (around & (middle[:, axis, None] > 0)))
    target = (factors[1][:, :, None] * factors[0][:, None]).sqrt()
    maximum = target.amax((1, 2), keepdim=True)
    return target / maximum.where(maximum > 0, 1)


def _balance(before: Tensor, behind: Tensor) -> Tensor:
    """The smaller distance as a fraction of the larger one; 0 unless both are positive."""
    inside = (before > 0) & (behind > 0)
    ratio = torch.minimum(before, behind) / torch.maximum(before, behind)
    return ratio.where(inside, 0)


def _cells_of(points: Tensor, grid: tuple[int, int], stride: int) -> Tensor:
    """Row-major index of the cell in which each point, xy, lies, or the nearest. Shape (T, )."""
    column, row = (points / stride).floor().long().unbind(1)
    return row.clamp(0, grid[0] - 1) * grid[1] + column.clamp(0, grid[1] - 1)


def _fill_empty(target: Tensor, cells: Tensor) -> None:
    """Set one cell of each map without a positive one to 1."""
    flat = target.flatten(1)
    empty = ~(flat > 0).any(1)
    flat[empty, cells[empty]] = 1


def _centroids(masks: Tensor) -> Tensor:
    """Mean index of the pixels of each mask, xy, float64; NaN without a pixel. Shape (T, 2)."""
    centroids = []
    for axis in (1, 2):
        counts = masks.sum(axis).double()
        index = torch.arange(counts.shape[1], dtype=torch.float64, device=masks.device)
        centroids.append((counts * index).sum(1) / counts.sum(1))
    return torch.stack(centroids, 1)


def _cell_means(masks: Tensor, stride: int) -> Tensor:
    return F.avg_pool2d(masks[:, None].float(), stride)[:, 0]
