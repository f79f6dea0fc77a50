from collections.abc import Sequence

from mmdet.models.necks import FPN
from torch import Tensor

from mmground.registry import MODELS

from ..layers.pyramid import fpn_level


@MODELS.register_module()
class FinestLevelFPN(FPN):
    """mmdet's FPN with its finest level as the only output.

    For heads of one level that need the coarser ones for context, and none of them as output.

    Args:
        in_channels: Channels of the backbone's maps, fine to coarse.
        out_channels: Channels of the output.
        **kwargs: As for mmdet's ``FPN``, ``start_level`` or ``upsample_cfg``, say.
    """

    def __init__(self, in_channels: list[int], out_channels: int, **kwargs) -> None:
        super().__init__(in_channels, out_channels, num_outs=len(in_channels), **kwargs)
        # Parameters without use would have no gradient.
        self.fpn_convs = self.fpn_convs[:1]

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor]:
        """Merge the levels.

        Args:
            inputs: The backbone's maps, fine to coarse, each (B, C_i, h_i, w_i).

        Returns:
            The finest level, (B, out_channels, h, w).
        """
        return (fpn_level(self, inputs, 0),)
