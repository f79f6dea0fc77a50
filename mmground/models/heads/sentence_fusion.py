from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_activation_layer, build_norm_layer
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmground.registry import MODELS

from ..layers.conv_module import sigma_settings


@MODELS.register_module()
class SentenceFusion(BaseModule):
    """A sentence modulates the coarsest map of its image, and finer maps are fused into it.

    Eqs. 1-2 of JMCELN (`Referring Image Segmentation via Joint Mask Contextual Embedding Learning
    and Progressive Alignment Network <https://aclanthology.org/2023.emnlp-main.481>`_). With
    sigma a batch normalisation and a LeakyReLU,

    ``F_m2 = sigma(F_s W_s) * sigma(W_v3 F_v3)``, the sentence being the same at all cells, and
    ``F_m(i-1) = sigma(W_mi [Up(F_mi), sigma(W_vi F_vi)])`` for i = 2, 1; the result is F_m0.

    The maps sigma(W_vi F_vi) know nothing of the sentence: they are computed once for each image,
    however many sentences are about it, so their batch statistics are over images, too. All that
    follows is computed for each sentence.

    The paper leaves open, so it is a choice: the kernels; the slope of the LeakyReLU; and that the
    upsampling is bilinear.

    Args:
        in_channels: Channels of F_v1, F_v2 and F_v3.
        sentence_channels: Channels of F_s.
        channels: C, those of all projections and of the result.
        kernel_sizes: Kernels of W_v1, W_v2 and W_v3.
        mixing_kernel_size: Kernel of W_m2 and W_m1.
        post_norm: Whether the product of Eq. 1 goes through one more sigma, as in CRIS.
        with_coord: Whether each F_vi gets two more channels, the x and y of its cells on the canvas
            from -1 to 1 (border to border). The paper has no such channels.
        norm_cfg: Normalisation of maps.
        sentence_norm_cfg: Normalisation of the projected sentences. A batch normalisation cannot
            be trained on one sentence; ``dict(type='LN')`` can.
        act_cfg: The activation.
        init_cfg: Initialisation instead of mmcv's for convolutions (Kaiming, normal) and PyTorch's
            for W_s.

    Raises:
        ValueError: If there is not one kernel for each map.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (512, 1024, 512),
        sentence_channels: int = 512,
        channels: int = 1024,
        kernel_sizes: Sequence[int] = (3, 3, 1),
        mixing_kernel_size: int = 1,
        post_norm: bool = False,
        with_coord: bool = False,
        norm_cfg: dict | None = None,
        sentence_norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if len(kernel_sizes) != len(in_channels):
            raise ValueError(
                f'kernel_sizes must be one for each of the {len(in_channels)} maps, '
                f'got {list(kernel_sizes)}'
            )
        sigma = sigma_settings(norm_cfg, act_cfg)
        self.with_coord = with_coord
        self.sentence_proj = nn.Linear(sentence_channels, channels)
        self.sentence_norm = build_norm_layer(sentence_norm_cfg or dict(type='BN1d'), channels)[1]
        self.sentence_act = build_activation_layer(sigma['act_cfg'])
        self.image_convs = ModuleList(
            ConvModule(own + 2 * with_coord, channels, kernel, padding=kernel // 2, **sigma)
            for own, kernel in zip(in_channels, kernel_sizes, strict=True)
        )
        self.post_norm = nn.Identity()
        if post_norm:
            self.post_norm = nn.Sequential(
                build_norm_layer(sigma['norm_cfg'], channels)[1],
                build_activation_layer(sigma['act_cfg']),
            )
        # By i, as the paper counts: the first is W_m1.
        self.mixing_convs = ModuleList(
            ConvModule(
                2 * channels, channels, mixing_kernel_size, padding=mixing_kernel_size // 2, **sigma
            )
            for _ in in_channels[1:]
        )

    def forward(self, feats: Sequence[Tensor], sentence: Tensor, image_index: Tensor) -> Tensor:
        """Fuse T sentences with their images.

        Args:
            feats: F_v1, F_v2 and F_v3 of the B images, each half as large as the one before. Shape
                (B, C_i, h_i, w_i).
            sentence: F_s. Shape (T, sentence_channels).
            image_index: The image of each sentence. Shape (T, ).

        Returns:
            F_m. Shape (T, C, h_1, w_1).

        Raises:
            ValueError: If a map is not half as large as the one before, or if one sentence is
                to be trained with batch normalisation.
        """
        self._check(feats, sentence)
        image_maps = [
            conv(self._with_coordinates(own))
            for conv, own in zip(self.image_convs, feats, strict=True)
        ]
        modulation = self.sentence_act(self.sentence_norm(self.sentence_proj(sentence)))
        fused = self.post_norm(modulation[:, :, None, None] * image_maps[-1][image_index])
        for conv, own in zip(reversed(self.mixing_convs), reversed(image_maps[:-1]), strict=True):
            enlarged = F.interpolate(fused, scale_factor=2, mode='bilinear')
            fused = conv(torch.cat((enlarged, own[image_index]), 1))
        return fused

    def _with_coordinates(self, feat: Tensor) -> Tensor:
        return torch.cat((feat, cell_coordinates(feat)), 1) if self.with_coord else feat

    def _check(self, feats: Sequence[Tensor], sentence: Tensor) -> None:
        shapes = [tuple(own.shape[-2:]) for own in feats]
        if any(fine != (2 * coarse[0], 2 * coarse[1]) for fine, coarse in pairwise(shapes)):
            raise ValueError(
                f'the maps of the backbone are {shapes}, but each must be half as large as the one '
                'before: set pad_size_divisor of the data preprocessor to the largest stride'
            )
        if self.training and len(sentence) == 1 and isinstance(self.sentence_norm, nn.BatchNorm1d):
            raise ValueError(
                'one sentence cannot be normalised over the batch: train with two at least '
                '(train_dataloader.batch_size, drop_last=True), or set '
                "model.head.fusion.sentence_norm_cfg=dict(type='LN')"
            )


def cell_coordinates(feat: Tensor) -> Tensor:
    """Centres of a map's cells, -1 at the left and upper border and 1 at the others.

    Args:
        feat: The maps. Shape (B, C, h, w).

    Returns:
        x and y. Shape (B, 2, h, w).
    """
    y, x = (
        (2 * torch.arange(size, device=feat.device, dtype=feat.dtype) + 1) / size - 1
        for size in feat.shape[-2:]
    )
    return torch.stack(torch.meshgrid(x, y, indexing='xy')).expand(len(feat), -1, -1, -1)
