import torch.nn.functional as F
from torch import Tensor

from .geometry import Geometry


def grid_targets(
    masks: Tensor, geometry: Geometry, stride: int = 4, threshold: float = 0.0
) -> Tensor:
    """Masks on the grid on which PPMN is trained and scored.

    The masks are resized to the network's image, padded to its canvas, and reduced
    to ``1 / stride`` of it, both times bilinearly without antialiasing. With the
    official threshold of zero any cell with a positive value belongs to the target:
    the result is slightly dilated. The padding counts as background, and a region of a
    few pixels may vanish: of an even stride, a cell sees only the middle 2 x 2 of its
    pixels.

    Args:
        masks: Masks of the original image, boolean, shape (N, ori_h, ori_w).
        geometry: How the image lies on the canvas; its ``canvas_shape`` is known.
        stride: Pixels of the canvas per cell of the grid, along each axis.
        threshold: A cell belongs to the target where its value exceeds this.

    Returns:
        Boolean masks, shape (N, canvas_h / stride, canvas_w / stride).

    Raises:
        ValueError: If the masks are not of the original image's size, if the canvas is
            unknown, or if the stride does not divide it.
    """
    if tuple(masks.shape[1:]) != tuple(geometry.ori_shape):
        raise ValueError(
            f'masks of {tuple(masks.shape[1:])} pixels do not belong to an image of '
            f'{tuple(geometry.ori_shape)} (height, width)'
        )
    geometry.check_canvas()
    height, width = geometry.canvas_shape
    if height % stride or width % stride:
        raise ValueError(
            f'a canvas of {height} x {width} pixels has no whole number of cells of '
            f'{stride} pixels: set pad_size_divisor of the data preprocessor to a '
            f'multiple of {stride}'
        )
    grid = (height // stride, width // stride)
    if len(masks) == 0:
        return masks.new_zeros((0, *grid)).bool()
    on_canvas = geometry.masks(masks)
    return (
        F.interpolate(on_canvas[None], size=grid, mode='bilinear', align_corners=False)[0]
        > threshold
    )
