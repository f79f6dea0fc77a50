from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmdet.models.backbones.swin import ShiftWindowMSA
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmground.registry import MODELS

from ..layers.conv_module import sigma_settings


@MODELS.register_module()
class LSRAN(BaseModule):
    """Long-short relation-aware network: near and far objects learn of each other.

    Sec. 3.3 of JMCELN (`Referring Image Segmentation via Joint Mask Contextual Embedding Learning
    and Progressive Alignment Network <https://aclanthology.org/2023.emnlp-main.481>`_): first
    window attention, by which a cell learns what object it is of; then four dilated convolutions
    side by side, one for each reach of relations, mixed by a 1x1 convolution to the relation
    features R; then the product with a 3x3 convolution of the input, for the borders,

    ``F_mt = R * conv3x3(F_m)``.

    The paper leaves open, so it is a choice: the windows of 13 cells, which tile the 52 x 52 cells
    of a 416 canvas, and that they are not shifted (other maps are padded with zeros, which
    attention sees); LayerNorm before the attention, its relative position bias, and a residual
    around it; the kernels and dilations of the branches, here those of ASPP, and that each has a
    quarter of the channels; a normalisation and an activation after each convolution, the
    gating one included.

    Args:
        channels: C.
        window_size: Cells along each side of a window.
        num_heads: Heads of the attention.
        branches: Kernel size and dilation of each dilated convolution, which share C
            channels equally.
        norm_cfg: Normalisation of maps.
        act_cfg: The activation.
        init_cfg: Initialisation instead of mmcv's (convolutions: Kaiming, normal).

    Raises:
        ValueError: If the branches cannot share the channels equally.
    """

    def __init__(
        self,
        channels: int = 1024,
        window_size: int = 13,
        num_heads: int = 8,
        branches: Sequence[dict] = (
            dict(kernel_size=1, dilation=1),
            dict(kernel_size=3, dilation=6),
            dict(kernel_size=3, dilation=12),
            dict(kernel_size=3, dilation=18),
        ),
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not branches or channels % len(branches):
            raise ValueError(
                f'{len(branches)} branches cannot share {channels} channels equally; give one at '
                'least, and a number of them that divides channels'
            )
        sigma = sigma_settings(norm_cfg, act_cfg)
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = ShiftWindowMSA(channels, num_heads, window_size)
        self.branches = ModuleList(
            ConvModule(
                channels,
                channels // len(branches),
                padding=branch['dilation'] * (branch['kernel_size'] // 2),
                **branch,
                **sigma,
            )
            for branch in branches
        )
        self.mixing = ConvModule(channels, channels, 1, **sigma)
        self.gate = ConvModule(channels, channels, 3, padding=1, **sigma)

    def forward(self, fused: Tensor) -> Tensor:
        """Relate objects.

        Args:
            fused: F_m. Shape (T, C, h, w).

        Returns:
            F_mt^0. Shape (T, C, h, w).
        """
        shape = fused.shape[-2:]
        cells = fused.flatten(2).transpose(1, 2)
        cells = cells + self.attention(self.attention_norm(cells), shape)
        objects = cells.transpose(1, 2).unflatten(2, shape)
        relations = self.mixing(torch.cat([branch(objects) for branch in self.branches], 1))
        return relations * self.gate(fused)
