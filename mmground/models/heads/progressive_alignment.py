from itertools import pairwise

import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule, ModuleList, kaiming_init
from torch import Tensor, nn

from mmground.registry import MODELS


@MODELS.register_module()
class ProgressiveAlignment(BaseModule):
    """Progressive alignment network (PAN): a stage's output filters that of the next.

    Sec. 3.4.2 of JMCELN (`Referring Image Segmentation via Joint Mask Contextual Embedding Learning
    and Progressive Alignment Network <https://aclanthology.org/2023.emnlp-main.481>`_). With F' the
    result of Eq. 4 and F^i the output of the stage before,

    ``F_1, F_2, F_3 = depthwise7x7(conv1x1(F'))`` of C/4, C/2 and C channels,
    ``g_1 = conv1x1(F^i)``, ``g_2 = conv3x3(g_1 * F_1)``, ``g_3 = conv3x3(g_2 * F_2)``, and
    ``F^(i+1) = norm(g_3 * F_3) + F^i``.

    Three products need two convolutions between them; "repeated three times" is read so. The
    form is that of HorNet's recursive gated convolution of order 3, whose filter comes from the
    same input, and which has a 1x1 convolution where the norm is.

    Under autocast everything from the first product on is in float32: a product of two or three
    maps can leave the range of half precision.

    The paper leaves open, so it is a choice: that nothing follows the convolutions; biases; and the
    initialisation, which keeps the variance of what passes (PyTorch's divides it by three at each
    convolution, so that the product vanishes beside the norm's epsilon).

    Args:
        channels: C, divisible by four.
        kernel_size: Kernel of the depthwise convolution.
        norm_cfg: The normalisation.
        init_cfg: Initialisation instead of the one above.

    Raises:
        ValueError: If C is not divisible by four.
    """

    def __init__(
        self,
        channels: int = 1024,
        kernel_size: int = 7,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if channels % 4:
            raise ValueError(f'channels must be divisible by 4, got {channels}')
        self.widths = (channels // 4, channels // 2, channels)
        total = sum(self.widths)
        self.proj = nn.Conv2d(channels, total, 1)
        self.depthwise = nn.Conv2d(
            total, total, kernel_size, padding=kernel_size // 2, groups=total
        )
        self.filter_proj = nn.Conv2d(channels, self.widths[0], 1)
        self.filter_convs = ModuleList(
            nn.Conv2d(narrow, wide, 3, padding=1) for narrow, wide in pairwise(self.widths)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                kaiming_init(module, mode='fan_in', nonlinearity='linear')
        self.norm = build_norm_layer(norm_cfg or dict(type='SwitchNorm2d'), channels)[1]

    def forward(self, updated: Tensor, previous: Tensor) -> Tensor:
        """Filter what is not consistent with the stage before.

        Args:
            updated: F', of this stage. Shape (T, C, h, w).
            previous: F^i, the output of the stage before. Shape (T, C, h, w).

        Returns:
            F^(i+1). Shape (T, C, h, w).
        """
        parts = self.depthwise(self.proj(updated)).float().split(self.widths, 1)
        filtered = self.filter_proj(previous).float() * parts[0]
        with torch.autocast(updated.device.type, enabled=False):
            for conv, part in zip(self.filter_convs, parts[1:], strict=True):
                filtered = conv(filtered) * part
            return self.norm(filtered) + previous
