import random
import re
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from mmground.registry import TRANSFORMS

# A crop moves what is at the left, at the top or in the middle of the image.
_POSITION_WORDS = re.compile(
    r'\b(left|right|top|bottom|upper|lower|middle|cent(?:er|re))'
    r'(most|hand|handed|side|ward|wards)?\b',
    re.IGNORECASE,
)


@TRANSFORMS.register_module()
class CropAroundReferred(BaseTransform):
    """Cut out a square window around what the text refers to.

    The window is centred on the box around all linked regions, moved as far as it takes to stay in
    the image, and as large as the image at most. It comes before the resizing; annotations stay in
    pixels of the original image.

    Required Keys:

    - img (np.ndarray): the whole image.
    - ori_shape (tuple[int, int]), sample_id (str)
    - regions (list[dict]): with ``bbox``; regions without one get it by
      :class:`LoadGroundingMasks`.
    - links (list[tuple[int, int]])

    Modified Keys:

    - img, img_shape

    Added Keys:

    - crop (tuple[int, int, int, int]): (top, left, height, width) in pixels of the original image.

    Args:
        size: Side of the window in pixels of the original image.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f'size must be at least one pixel, got {size}')
        self.size = size

    def transform(self, results: dict) -> dict:
        """Cut out the window; see the class."""
        _check_whole(self, results)
        if not results['links']:
            raise ValueError(f'sample {results["sample_id"]!r} refers to no region to crop around')
        boxes = np.array([results['regions'][region]['bbox'] for _, region in results['links']])
        centre = (boxes[:, :2].min(0) + boxes[:, 2:].max(0))[::-1] / 2  # (y, x)
        shape = np.array(results['ori_shape'])
        size = np.minimum(self.size, shape)
        start = np.clip(np.round(centre - size / 2).astype(int), 0, shape - size)
        return _cut(results, (*start.tolist(), *size.tolist()))

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size})'


@TRANSFORMS.register_module()
class RandomReferringCrop(BaseTransform):
    """Cut out a random part of the image that shows the referred objects.

    The crop of TransVG (`Deng et al., ICCV 2021 <https://arxiv.org/abs/2104.08541>`_): the
    part has the size that would be between ``min_size`` and ``max_size`` pixels in each
    direction if the image's shorter side were one of ``short_sides``. A record whose text has
    a word of position is left as it is. A part is taken if it shows the centre of the box of
    every region; after ``max_tries`` parts that do not, the image stays whole. (The official
    code compares only with the part's upper left corner, and mixes up the axes.)

    It comes before the resizing. Annotations stay in pixels of the original image, and
    masks are still of its size.

    Required Keys:

    - img (np.ndarray): the whole image.
    - ori_shape (tuple[int, int]), text (str)
    - regions (list[dict]): with ``bbox``; regions without one get it by
      :class:`LoadGroundingMasks`.

    Modified Keys:

    - img, img_shape

    Added Keys:

    - crop (tuple[int, int, int, int]): (top, left, height, width) in pixels of the original
      image, if a part was cut out.

    Args:
        prob: Probability of a crop.
        short_sides: Lengths of the shorter side, of which one is drawn.
        min_size: Smallest side of the part.
        max_size: Largest side of the part.
        max_tries: Parts to draw before giving up.
    """

    def __init__(
        self,
        prob: float = 0.5,
        short_sides: Sequence[int] = (400, 500, 600),
        min_size: int = 384,
        max_size: int = 600,
        max_tries: int = 20,
    ) -> None:
        if not 0 < min_size <= min(*short_sides, max_size):
            raise ValueError(
                f'min_size must be at most max_size and every one of short_sides, got {min_size}, '
                f'{max_size} and {tuple(short_sides)}'
            )
        self.prob = prob
        self.short_sides = tuple(short_sides)
        self.min_size = min_size
        self.max_size = max_size
        self.max_tries = max_tries

    def transform(self, results: dict) -> dict:
        """Cut out a part, or leave the record; see the class."""
        _check_whole(self, results)
        if random.random() >= self.prob or _POSITION_WORDS.search(results['text']):
            return results
        boxes = np.array([region['bbox'] for region in results['regions']]).reshape(-1, 4)
        centres = (boxes[:, 1::-1] + boxes[:, :1:-1]) / 2  # (y, x)
        shape = np.array(results['ori_shape'])
        ratio = random.choice(self.short_sides) / shape.min()
        for _ in range(self.max_tries):
            size = np.array([self._side(side, ratio) for side in shape.tolist()])
            start = np.array([random.randint(0, rest) for rest in (shape - size).tolist()])
            if ((start <= centres) & (centres < start + size)).all():
                return _cut(results, (*start.tolist(), *size.tolist()))
        return results

    def _side(self, side: int, ratio: float) -> int:
        """A length of the part, in pixels of the original image."""
        drawn = random.randint(self.min_size, min(round(side * ratio), self.max_size))
        return min(max(round(drawn / ratio), 1), side)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(prob={self.prob}, short_sides={self.short_sides}, '
            f'min_size={self.min_size}, max_size={self.max_size}, max_tries={self.max_tries})'
        )


def _check_whole(transform: BaseTransform, results: dict) -> None:
    if tuple(results['img'].shape[:2]) != tuple(results['ori_shape']):
        raise ValueError(f'{type(transform).__name__} must come before the image is resized')


def _cut(results: dict, window: tuple[int, int, int, int]) -> dict:
    """Leave (top, left, height, width) of the image."""
    top, left, height, width = window
    results['crop'] = window
    results['img'] = results['img'][top : top + height, left : left + width]
    results['img_shape'] = (height, width)
    return results
