import random

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, ImageEnhance

from mmground.registry import TRANSFORMS

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@TRANSFORMS.register_module()
class PillowColorJitter(BaseTransform):
    """Change brightness, contrast and saturation at random, in random order.

    As the official code of PBREC and TransVG does, by Pillow's enhancers: brightness blends
    with black, contrast with the image's mean grey, saturation with its grey version, each
    rounded to 8 bits.

    Required Keys:

    - img (np.ndarray): BGR, uint8, (h, w, 3). Modified.

    Args:
        prob: Probability of any change.
        strength: Each factor is uniform in [1 - strength, 1 + strength].
    """

    def __init__(self, prob: float = 0.8, strength: float = 0.4) -> None:
        self.prob = prob
        self.strength = strength

    def transform(self, results: dict) -> dict:
        """Change the image's colours; see the class."""
        if random.random() >= self.prob:
            return results
        image = Image.fromarray(np.ascontiguousarray(results['img'][..., ::-1]))
        for enhancer in random.sample(_ENHANCERS, len(_ENHANCERS)):
            factor = random.uniform(1 - self.strength, 1 + self.strength)
            image = enhancer(image).enhance(factor)
        results['img'] = np.ascontiguousarray(np.asarray(image)[..., ::-1])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, strength={self.strength})'
