from mmdet.models.backbones import ResNet
from mmdet.models.layers import ResLayer
from mmengine.model import BaseModule
from torch import Tensor

from mmground.registry import MODELS


@MODELS.register_module()
class ResStage(BaseModule):
    """The last stage of a ResNet as the shared head of a two-stage detector.

    mmdet's shared head of this form is of 64 base channels; this one may be narrower.

    Args:
        depth: Of the ResNet.
        base_channels: Channels of its stem.
        stride: Of the stage's first block.
        norm_cfg: Normalisation.
        style: Where a bottleneck has its stride, ``'pytorch'`` or ``'caffe'``.
        init_cfg: Initialisation; by default He's.

    Attributes:
        out_channels (int): Channels of the result.
    """

    def __init__(
        self,
        depth: int,
        base_channels: int = 64,
        stride: int = 1,
        norm_cfg: dict | None = None,
        style: str = 'pytorch',
        init_cfg: dict | list | None = None,
    ) -> None:
        if init_cfg is None:
            init_cfg = [
                dict(type='Kaiming', layer='Conv2d'),
                dict(type='Constant', val=1, layer='_BatchNorm'),
            ]
        super().__init__(init_cfg)
        block, num_blocks = ResNet.arch_settings[depth]
        planes = 8 * base_channels
        self.layer4 = ResLayer(
            block=block,
            inplanes=4 * base_channels * block.expansion,
            planes=planes,
            num_blocks=num_blocks[3],
            stride=stride,
            style=style,
            norm_cfg=norm_cfg or dict(type='BN'),
        )
        self.out_channels = planes * block.expansion

    def forward(self, crops: Tensor) -> Tensor:
        """Describe crops of the map before.

        Args:
            crops: Shape (n, C, h, w).

        Returns:
            Shape (n, out_channels, ceil(h / stride), ceil(w / stride)).
        """
        return self.layer4(crops)
