import math
from collections.abc import Sequence

from mmdet.models.layers import SinePositionalEncoding
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmground.registry import MODELS

from ..layers.conv_module import PlainConvModule


@MODELS.register_module()
class SemanticFPN(BaseModule):
    """Aggregate a feature pyramid into one map: the semantic FPN neck of PPMN.

    Sec. 3.1 of `PPMN <https://doi.org/10.1145/3503161.3548086>`_, after `Panoptic
    Feature Pyramid Networks <https://arxiv.org/abs/1901.02446>`_: every level runs
    through a 3x3 convolution and then, until it has the output's resolution, through a
    doubling and another 3x3 convolution; the levels are summed, and a 1x1 convolution
    gives F.
    A sine positional encoding, computed over the whole canvas, is added to the
    coarsest level first.

    Upsampling is nearest and each convolution is followed by normalisation and ReLU, as
    in the official code; a level of half the output's stride is reduced by a strided
    convolution.

    Args:
        in_channels: Channels of the levels, all equal or one per level.
        channels: Channels of F.
        strides: Strides of the levels, fine to coarse; each a power of two times ``out_stride``,
            or half of it.
        out_stride: Stride of F in pixels of the network input.
        positional_encoding: Whether the coarsest level gets the encoding (the paper
            and the official code: yes).
        out_conv: Whether the sum runs through the 1x1 convolution. The official DRMN, whose
            levels have strides 8, 8, 16 and 32, does without.
        keep_levels: Whether the levels that came in are returned behind F, for heads that
            read them too.
        norm_cfg: Normalisation after each convolution.
        init_cfg: Initialisation. None is PyTorch's own, as the official code.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int] = 256,
        channels: int = 256,
        strides: Sequence[int] = (4, 8, 16, 32),
        out_stride: int = 8,
        positional_encoding: bool = True,
        out_conv: bool = True,
        keep_levels: bool = False,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norm_cfg = norm_cfg or dict(type='GN', num_groups=32)
        if isinstance(in_channels, int):
            in_channels = [in_channels] * len(strides)
        self.branches = ModuleList(
            self._branch(width, channels, stride / out_stride, norm_cfg)
            for width, stride in zip(in_channels, strides, strict=True)
        )
        self.keep_levels = keep_levels
        self.out_conv = None
        if out_conv:
            self.out_conv = PlainConvModule(channels, channels, 1, norm_cfg=norm_cfg, bias=True)
        self.positional_encoding = None
        if positional_encoding:
            self.positional_encoding = SinePositionalEncoding(in_channels[-1] // 2, normalize=True)

    @staticmethod
    def _branch(in_channels: int, channels: int, ratio: float, norm_cfg: dict) -> nn.Sequential:
        """Blocks that bring a level of ``ratio`` times the output's stride to its resolution."""
        doublings = math.log2(ratio)
        if doublings % 1 or doublings < -1:
            raise ValueError(
                'strides must be powers of two times out_stride, at least half of it; '
                f'got a ratio of {ratio}'
            )
        blocks = [_conv(in_channels, channels, norm_cfg, stride=2 if doublings < 0 else 1)]
        for _ in range(int(doublings)):
            blocks += [nn.UpsamplingNearest2d(scale_factor=2), _conv(channels, channels, norm_cfg)]
        return nn.Sequential(*blocks)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Aggregate the levels.

        Args:
            levels: Fine to coarse, each (B, C_l, H / stride, W / stride).

        Returns:
            F, (B, channels, H / out_stride, W / out_stride), and with ``keep_levels`` the levels
            as they were given behind it.
        """
        kept = tuple(levels) if self.keep_levels else ()
        levels = list(levels)
        if self.positional_encoding is not None:
            coarsest = levels[-1]
            mask = coarsest.new_zeros((1, *coarsest.shape[-2:]))
            levels[-1] = coarsest + self.positional_encoding(mask).to(coarsest.dtype)
        total = sum(branch(level) for branch, level in zip(self.branches, levels, strict=True))
        return (total if self.out_conv is None else self.out_conv(total), *kept)


def _conv(in_channels: int, channels: int, norm_cfg: dict, stride: int = 1) -> PlainConvModule:
    return PlainConvModule(
        in_channels, channels, 3, stride=stride, padding=1, norm_cfg=norm_cfg, bias=True
    )
