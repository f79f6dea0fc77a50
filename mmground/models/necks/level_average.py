from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmground.registry import MODELS


@MODELS.register_module()
class LevelAverage(BaseModule):
    """Average the levels of a pyramid on the grid of one of them.

    Eqs. 10-11 of `DRMN <https://arxiv.org/abs/2310.16616>`_: levels are resampled bilinearly.

    Args:
        out_level: Index of the level whose grid the average has. The paper's is the
            second, of stride 8.
    """

    def __init__(self, out_level: int = 1) -> None:
        super().__init__()
        self.out_level = out_level

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Average.

        Args:
            levels: Fine to coarse. Each (B, C, h_l, w_l).

        Returns:
            The average, of the shape of the level ``out_level``, and behind it the levels as they
            were given.
        """
        shape = levels[self.out_level].shape[-2:]
        total = sum(
            F.interpolate(level, shape, mode='bilinear', align_corners=False) for level in levels
        )
        return (total / len(levels), *levels)
