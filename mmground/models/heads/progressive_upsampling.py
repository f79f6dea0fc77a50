from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, Sequential, bias_init_with_prob, normal_init
from torch import Tensor, nn

from mmground.registry import MODELS

from ..layers.conv_module import sigma_settings


@MODELS.register_module()
class ProgressiveUpsampling(BaseModule):
    """Doubles the size of maps again and again, then scores two classes.

    Sec. 3.5 of JMCELN (`Referring Image Segmentation via Joint Mask Contextual Embedding Learning
    and Progressive Alignment Network <https://aclanthology.org/2023.emnlp-main.481>`_): the
    features of stride 8 are "progressively" brought to the size of the input. How is not said, so
    it is a choice: each time bilinear upsampling and a 3x3 convolution with normalisation and
    activation, which reduces the channels; a 1x1 convolution ends it.

    Args:
        in_channels: Channels of the features.
        channels: Channels after each doubling, so that its length says how often.
        norm_cfg: Normalisation of maps.
        act_cfg: The activation.
        foreground_prior: The probability of foreground that training starts with at every pixel.
            None leaves it at PyTorch's initialisation, around a half, as the paper names no other.
            With a prior, the first iterations need not learn how rare foreground is.
        logits_scale: By what the logits are enlarged in the end, bilinearly. Doublings at full
            resolution are the dearest part of a small model.
        init_cfg: Initialisation instead of mmcv's (Kaiming, normal).
    """

    def __init__(
        self,
        in_channels: int = 1024,
        channels: Sequence[int] = (256, 128, 64),
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        foreground_prior: float | None = None,
        logits_scale: int = 1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        layers = []
        for width in channels:
            layers += [
                nn.Upsample(scale_factor=2, mode='bilinear'),
                ConvModule(
                    in_channels,
                    width,
                    3,
                    padding=1,
                    **sigma_settings(norm_cfg, act_cfg),
                ),
            ]
            in_channels = width
        self.layers = Sequential(*layers)
        self.classifier = nn.Conv2d(in_channels, 2, 1)
        self.logits_scale = logits_scale
        if foreground_prior is not None:
            normal_init(self.classifier, std=0.01)
            with torch.no_grad():
                self.classifier.bias[1] = bias_init_with_prob(foreground_prior)

    def forward(self, features: Tensor) -> Tensor:
        """Score each pixel.

        Args:
            features: Shape (T, in_channels, h, w).

        Returns:
            Logits of background and foreground, float32. Shape (T, 2, s h, s w), s being 2 to the
            number of doublings, times ``logits_scale``.
        """
        logits = self.classifier(self.layers(features)).float()
        if self.logits_scale == 1:
            return logits
        return F.interpolate(logits, scale_factor=self.logits_scale, mode='bilinear')
