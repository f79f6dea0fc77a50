import random
from collections.abc import Sequence

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform

from mmground.registry import TRANSFORMS

_PLACEMENTS = ('center', 'random')
_INTERPOLATIONS = ('bilinear', 'bicubic')


@TRANSFORMS.register_module()
class Letterbox(BaseTransform):
    """Resize the longer side of an image and place it on a square canvas.

    The ratio of the longer side holds for both axes (it is the geometry's ``ratio``); each
    side is then rounded to whole pixels, halves to even, as the official code of PBREC and
    TransVG does. Nothing is padded here: the image keeps its size and gets a place on the
    canvas, where :class:`~mmground.models.data_preprocessors.GroundingDataPreprocessor` puts
    it after normalisation. Other coordinates stay those of the original image.

    Required Keys:

    - img (np.ndarray): uint8, (h, w, 3).

    Modified Keys:

    - img (np.ndarray): resized, with antialiasing as Pillow does.
    - img_shape (tuple[int, int]): (height, width) of it.

    Added Keys:

    - ratio (float): Pixels of the resized image per pixel before.
    - offset (tuple[int, int]): (top, left) of the image on the canvas.
    - canvas_shape (tuple[int, int]): (size, size).

    Args:
        size: Side of the canvas in pixels.
        long_sides: Lengths of the longer side, of which one is drawn for each sample. None
            fills the canvas.
        placement: ``'center'``, one pixel nearer to the top or left where the rest is odd; or
            ``'random'``, every whole place on the canvas equally likely.
        interpolation: How pixels are resized, ``'bilinear'`` or ``'bicubic'``, as CLIP's are.

    Raises:
        ValueError: If a longer side exceeds the canvas, or ``placement`` or ``interpolation`` is
            another.

    Example:
        >>> import numpy as np
        >>> results = Letterbox(64)(dict(img=np.zeros((30, 40, 3), np.uint8)))
        >>> results['img_shape'], results['offset'], results['canvas_shape']
        ((48, 64), (8, 0), (64, 64))
    """

    def __init__(
        self,
        size: int,
        long_sides: Sequence[int] | None = None,
        placement: str = 'center',
        interpolation: str = 'bilinear',
    ) -> None:
        long_sides = (size,) if long_sides is None else tuple(long_sides)
        if not long_sides or not all(0 < side <= size for side in long_sides):
            raise ValueError(
                f'long_sides must be lengths up to the canvas of {size} pixels, got {long_sides}'
            )
        if placement not in _PLACEMENTS:
            raise ValueError(f'placement must be one of {_PLACEMENTS}, got {placement!r}')
        if interpolation not in _INTERPOLATIONS:
            raise ValueError(
                f'interpolation must be one of {_INTERPOLATIONS}, got {interpolation!r}'
            )
        self.size = size
        self.long_sides = long_sides
        self.placement = placement
        self.interpolation = interpolation

    def transform(self, results: dict) -> dict:
        """Resize and place the image; see the class."""
        img: np.ndarray = results['img']
        ratio = random.choice(self.long_sides) / max(img.shape[:2])
        # A side of an extreme image would vanish.
        height, width = (max(round(side * ratio), 1) for side in img.shape[:2])
        rest = self.size - height, self.size - width
        if self.placement == 'random':
            offset = tuple(random.randint(0, pixels) for pixels in rest)
        else:
            offset = tuple(pixels // 2 for pixels in rest)
        results['img'] = mmcv.imresize(
            img, (width, height), interpolation=self.interpolation, backend='pillow'
        )
        results['img_shape'] = (height, width)
        results['ratio'] = ratio
        results['offset'] = offset
        results['canvas_shape'] = (self.size, self.size)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, long_sides={self.long_sides}, '
            f'placement={self.placement!r}, interpolation={self.interpolation!r})'
        )
