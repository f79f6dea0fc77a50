from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models.layers import SinePositionalEncoding
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmground.registry import MODELS

from ..layers.conv_module import PlainConvModule
from ..layers.deform_layer import DeformLayer, xavier_matrices
from ..layers.deformable_attention import flatten_levels, pixel_centres
from ..layers.position_codes import pixel_position_code


@MODELS.register_module()
class DeformableEncoder(BaseModule):
    """Multi-scale deformable encoder: pixels of all levels read from all levels, in T layers.

    Secs. III-A and III-B of `Context Does Matter: End-to-end Panoptic Narrative Grounding with
    Deformable Attention Refined Matching Network <https://arxiv.org/abs/2310.16616>`_ (DRMN).
    Defaults follow the official code. The form of the paper (Eqs. 1-9; lines 3-12 of
    Alg. 1) is ``project_levels=False, level_embedding=False, position_code='normalized',
    positions_in_each_layer=False, fixed_values=True`` with the layer
    ``dict(residual='attention', ffn_residual=False)``.

    Args:
        channels: Channels C of the levels, before and after.
        num_levels: Levels.
        num_layers: T. With 0 the levels are returned as they are, after their projections.
        project_levels: Whether each level runs through a convolution, normalisation and ReLU
            first: the finest one through a 4x4 convolution of stride 2, which halves its
            resolution, the others through a 1x1 convolution.
        level_embedding: Whether a learned vector for each level is added to its position
            code.
        position_code: ``'pixel'``, sine code of the pixel's column and row on its level; or
            ``'normalized'``, mmdet's, with the coordinates relative to the size of the map
            (Eq. 2 says ``pos`` only; this is also the neck's of PPMN).
        positions_in_each_layer: Whether the code is added to the queries of each layer, and
            to nothing else; or once, to what the first layer starts from (Eq. 2).
        fixed_values: Whether all layers sample the maps that the encoder started from
            (line 10 of Alg. 1); otherwise each samples what the layer before returned.
        ignore_padding: Whether the padded area of the batch, all cells whose centre is in it, is
            left out: it is zero in the input and in the result, and no pixel samples from it. The
            official code treats it as a part of the image. Normalisation over whole maps still sees
            its zeros.
        layer: Arguments of :class:`DeformLayer`, beside channels and levels.
        norm_cfg: Normalisation after the projections.
        init_cfg: Initialisation. None draws matrices by Xavier's uniform initialisation and
            level embeddings from N(0, 1), as the official code.

    Raises:
        ValueError: If there is no such position code.
    """

    def __init__(
        self,
        channels: int = 256,
        num_levels: int = 4,
        num_layers: int = 2,
        project_levels: bool = True,
        level_embedding: bool = True,
        position_code: str = 'pixel',
        positions_in_each_layer: bool = True,
        fixed_values: bool = False,
        ignore_padding: bool = False,
        layer: dict | None = None,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if position_code not in ('pixel', 'normalized'):
            raise ValueError(
                f"position_code must be 'pixel' or 'normalized', got {position_code!r}"
            )
        norm_cfg = norm_cfg or dict(type='GN', num_groups=32)
        self.positions_in_each_layer = positions_in_each_layer
        self.fixed_values = fixed_values
        # Where it is set, Grounder passes the valid area.
        self.ignore_padding = ignore_padding
        self.projections = None
        if project_levels:
            self.projections = ModuleList(
                PlainConvModule(channels, channels, **conv, norm_cfg=norm_cfg, bias=True)
                for conv in (
                    dict(kernel_size=4, stride=2, padding=1),
                    *[dict(kernel_size=1)] * (num_levels - 1),
                )
            )
            xavier_matrices(self.projections)
        self.layers = ModuleList(
            DeformLayer(channels, num_levels=num_levels, **(layer or {})) for _ in range(num_layers)
        )
        self.level_embedding = None
        # Without a layer there is nothing to add codes to.
        if level_embedding and num_layers:
            self.level_embedding = nn.Parameter(torch.randn(num_levels, channels))
        self.sine_code = None
        if position_code == 'normalized':
            self.sine_code = SinePositionalEncoding(channels // 2, normalize=True)

    def forward(
        self, levels: Sequence[Tensor], valid_mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Encode.

        Args:
            levels: Fine to coarse. Each (B, C, h_l, w_l).
            valid_mask: For ``ignore_padding``: True on the pixels of the network input that
                are no padding. Shape (B, H, W).

        Returns:
            Levels, fine to coarse. Each (B, C, h_l, w_l); with ``project_levels`` the first has
            half its rows and columns.

        Raises:
            ValueError: If the padding is to be ignored but the valid area is not given.
        """
        if self.ignore_padding:
            if valid_mask is None:
                raise ValueError('DeformableEncoder(ignore_padding=True) needs the valid_mask')
            levels = _without_padding(levels, _level_masks(valid_mask, levels))
        if self.projections is not None:
            levels = [
                project(level) for project, level in zip(self.projections, levels, strict=True)
            ]
        masks = _level_masks(valid_mask, levels) if self.ignore_padding else None
        if self.layers:
            levels = self._encode(levels, masks)
        return tuple(_without_padding(levels, masks) if self.ignore_padding else levels)

    def _encode(self, levels: Sequence[Tensor], masks: Sequence[Tensor] | None) -> list[Tensor]:
        shapes = [tuple(level.shape[-2:]) for level in levels]
        pixels = values = flatten_levels(levels)
        positions = self._positions(levels, masks).to(pixels.dtype)
        padding = (
            None if masks is None else ~flatten_levels([mask[:, None] for mask in masks])[..., 0]
        )
        centres = pixel_centres(shapes, pixels.device)
        if not self.positions_in_each_layer:
            pixels = pixels + positions
        for layer in self.layers:
            pixels = layer(
                pixels + positions if self.positions_in_each_layer else pixels,
                values if self.fixed_values else pixels,
                centres,
                shapes,
                identity=pixels if layer.residual == 'identity' else None,
                padding_mask=padding,
            )
        parts = pixels.transpose(1, 2).split([height * width for height, width in shapes], -1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, shapes, strict=True)]

    def _positions(self, levels: Sequence[Tensor], masks: Sequence[Tensor] | None) -> Tensor:
        """Codes of all pixels. Shape (1 or B, S, C)."""
        codes = []
        for index, level in enumerate(levels):
            channels, height, width = level.shape[1:]
            if self.sine_code is None:
                code = pixel_position_code(height, width, channels, level.device)[None]
            else:
                # Coordinates are relative to the valid area, if there is one.
                ignored = level.new_zeros(1, height, width) if masks is None else ~masks[index]
                code = self.sine_code(ignored)
            if self.level_embedding is not None:
                code = code + self.level_embedding[index, :, None, None]
            codes.append(code)
        return flatten_levels(codes)


def _level_masks(valid_mask: Tensor, levels: Sequence[Tensor]) -> list[Tensor]:
    """Cells of each level whose centre is in the valid area. Each (B, h_l, w_l), boolean."""
    mask = valid_mask[:, None].float()
    return [
        F.interpolate(mask, level.shape[-2:], mode='nearest-exact')[:, 0].bool() for level in levels
    ]


def _without_padding(levels: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
    return [level.masked_fill(~mask[:, None], 0) for level, mask in zip(levels, masks, strict=True)]
