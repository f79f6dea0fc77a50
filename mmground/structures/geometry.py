from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

# What of a cell must lie on the image, from and to, as parts of the cell.
_ANCHORS = {'centre': (0.5, 0.5), 'corner': (0.0, 0.0), 'any': (0.0, 1.0)}


@dataclass(frozen=True)
class Geometry:
    """How an original image lies on the canvas that the network sees.

    The image, or what ``crop`` leaves of it, is resized to ``img_shape``, mirrored if
    ``flip``, and placed with its top left corner at ``offset`` on a canvas of
    ``canvas_shape``; the rest of the canvas is padding. Everything that maps between
    the two grids (targets, predictions, metrics, drawings) uses this object, so the
    mapping is stated once.

    Coordinates are continuous pixels: a pixel covers ``[i, i + 1)``, x grows to
    the right and y downwards. Shapes are ``(height, width)``.

    Args:
        ori_shape: Size of the original image.
        img_shape: Size of the resized image, before padding.
        offset: ``(top, left)`` of the resized image on the canvas, in pixels.
        flip: Whether the resized image is mirrored left to right.
        canvas_shape: Size of the canvas. None until the batch is put together:
            images are padded to the largest of their batch.
        ratio: Pixels of the resized image per pixel of the original, the same for both
            axes, as a letterbox defines it; points and boxes follow it exactly. The
            resized image is whole pixels, so masks, which are resampled as the image is,
            differ from it by up to half a pixel. None takes each axis' own ratio of the
            two sizes.
        crop: ``(top, left, height, width)`` of the part that was cut out before resizing,
            in pixels of the original image. None is the whole image.

    Example:
        >>> geometry = Geometry((100, 200), (50, 100), offset=(7, 0))
        >>> geometry.boxes(torch.tensor([[0., 0., 200., 100.]]))
        tensor([[  0.,   7., 100.,  57.]])
    """

    ori_shape: tuple[int, int]
    img_shape: tuple[int, int]
    offset: tuple[int, int] = (0, 0)
    flip: bool = False
    canvas_shape: tuple[int, int] | None = None
    ratio: float | None = None
    crop: tuple[int, int, int, int] | None = None

    def on_canvas(self, canvas_shape: tuple[int, int]) -> 'Geometry':
        """The same placement on a canvas of a known size ``(height, width)``."""
        return replace(self, canvas_shape=tuple(canvas_shape))

    def valid_cells(self, shape: tuple[int, int], anchor: str = 'centre') -> Tensor:
        """Cells of a map over the canvas that lie on the image.

        Args:
            shape: Size (h, w) of the map.
            anchor: What of a cell must lie on the image: its ``'centre'``; its top left
                ``'corner'``, which is what a mask of the padding says that is reduced to the
                map by its nearest pixels; or ``'any'`` part of it, so that there is a cell even
                on an image that is thinner than a cell.

        Returns:
            True on the image, False on the padding. Shape (h, w).

        Raises:
            ValueError: If the canvas is unknown, or there is no such anchor.
        """
        self.check_canvas()
        if anchor not in _ANCHORS:
            raise ValueError(f'anchor must be one of {list(_ANCHORS)}, got {anchor!r}')
        inside = []
        for axis, area in enumerate(self.image_area):
            cell = self.canvas_shape[axis] / shape[axis]
            first, last = ((torch.arange(shape[axis]) + part) * cell for part in _ANCHORS[anchor])
            # A cell that only touches the image has no part of it.
            begun = last > area.start if anchor == 'any' else last >= area.start
            inside.append(begun & (first < area.stop))
        return inside[0][:, None] & inside[1]

    def check_canvas(self) -> None:
        """Raise a ValueError if the canvas is unknown."""
        if self.canvas_shape is None:
            raise ValueError(
                'the canvas size is unknown: call Geometry.on_canvas(shape) with the '
                'padded size of the batch first'
            )

    def own_canvas(self, divisor: int) -> tuple[int, int]:
        """The canvas (height, width) of the image by itself.

        Args:
            divisor: What its sides are multiples of.
        """
        height, width = (-(-area.stop // divisor) * divisor for area in self.image_area)
        return height, width

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Pixels of the canvas per pixel of the original image, along x and y."""
        if self.ratio is not None:
            return self.ratio, self.ratio
        _, _, height, width = self._source_area
        return self.img_shape[1] / width, self.img_shape[0] / height

    @property
    def _source_area(self) -> tuple[int, int, int, int]:
        """(top, left, height, width) of what is seen of the original image."""
        return self.crop or (0, 0, *self.ori_shape)

    @property
    def image_area(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that the image covers; the rest is padding."""
        top, left = self.offset
        height, width = self.img_shape
        return slice(top, top + height), slice(left, left + width)

    def points(self, points: Tensor) -> Tensor:
        """Map points of the original image to the canvas.

        Args:
            points: Shape (..., 2), xy.

        Returns:
            Shape (..., 2), xy on the canvas.
        """
        scale_x, scale_y = self.scale_xy
        source_top, source_left, _, _ = self._source_area
        x, y = (points[..., 0] - source_left) * scale_x, (points[..., 1] - source_top) * scale_y
        if self.flip:
            x = self.img_shape[1] - x
        top, left = self.offset
        return torch.stack((x + left, y + top), dim=-1)

    def inverse_points(self, points: Tensor) -> Tensor:
        """Map points of the canvas to the original image. Shape (..., 2), xy."""
        scale_x, scale_y = self.scale_xy
        source_top, source_left, _, _ = self._source_area
        top, left = self.offset
        x, y = points[..., 0] - left, points[..., 1] - top
        if self.flip:
            x = self.img_shape[1] - x
        return torch.stack((x / scale_x + source_left, y / scale_y + source_top), dim=-1)

    def boxes(self, boxes: Tensor) -> Tensor:
        """Map boxes of the original image to the canvas.

        Args:
            boxes: Shape (..., 4), xyxy in pixels of the original image.

        Returns:
            Shape (..., 4), xyxy in pixels of the canvas. Of a box that ``crop`` cuts, what
            is left; a box outside it has no area.
        """
        if self.crop is not None:
            top, left, height, width = self.crop
            first = boxes.new_tensor([left, top, left, top])
            last = boxes.new_tensor([left + width, top + height] * 2)
            boxes = boxes.maximum(first).minimum(last)
        return self._map_boxes(boxes, self.points)

    def inverse_boxes(self, boxes: Tensor) -> Tensor:
        """Map boxes of the canvas to the original image, clipped to it.

        Args:
            boxes: Shape (..., 4), xyxy in pixels of the canvas.

        Returns:
            Shape (..., 4), xyxy in pixels of the original image.
        """
        boxes = self._map_boxes(boxes, self.inverse_points)
        height, width = self.ori_shape
        limit = boxes.new_tensor([width, height, width, height])
        return boxes.clamp(min=0).minimum(limit)

    def _map_boxes(self, boxes: Tensor, map_points) -> Tensor:
        corners = map_points(boxes.unflatten(-1, (2, 2)))
        # A mirrored image swaps left and right, so the corners are sorted anew.
        return corners.sort(dim=-2).values.flatten(-2)

    def masks(self, masks: Tensor) -> Tensor:
        """Map masks of the original image to the canvas, bilinearly.

        Args:
            masks: Boolean or float. Shape (N, ori_h, ori_w).

        Returns:
            Float values in [0, 1], zero on the padding. Shape
            (N, canvas_h, canvas_w), or (N, img_h + top, img_w + left) while the
            canvas is unknown.
        """
        top, left = self.offset
        height, width = self.img_shape
        canvas_h, canvas_w = self.canvas_shape or (top + height, left + width)
        source_top, source_left, source_h, source_w = self._source_area
        masks = masks[..., source_top : source_top + source_h, source_left : source_left + source_w]
        masks = _resize(masks.float(), self.img_shape)
        if self.flip:
            masks = masks.flip(-1)
        return F.pad(masks, (left, canvas_w - left - width, top, canvas_h - top - height))

    def inverse_masks(self, maps: Tensor) -> Tensor:
        """Map maps over the whole canvas to the original image, bilinearly.

        Args:
            maps: Float maps of any resolution that cover the canvas, such as
                probabilities at a quarter of its size. Shape (N, h, w).

        Returns:
            Values on the pixels of the original image, zero outside ``crop``. Shape
            (N, ori_h, ori_w).

        Raises:
            ValueError: If the canvas is unknown.
        """
        self.check_canvas()
        rows, columns = self.image_area
        maps = _resize(maps, self.canvas_shape)[..., rows, columns]
        if self.flip:
            maps = maps.flip(-1)
        top, left, height, width = self._source_area
        maps = _resize(maps, (height, width))
        below, beyond = self.ori_shape[0] - top - height, self.ori_shape[1] - left - width
        return F.pad(maps, (left, beyond, top, below))


def _resize(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[-2:]) == tuple(shape):
        return maps
    if len(maps) == 0:
        return maps.new_zeros((0, *shape))
    return F.interpolate(maps[None], size=shape, mode='bilinear', align_corners=False)[0]
