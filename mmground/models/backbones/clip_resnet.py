from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmground.registry import MODELS

# Bottlenecks of the four stages, and channels of the features that images and texts share.
_PRESETS = {50: ((3, 4, 6, 3), 1024), 101: ((3, 4, 23, 3), 512)}


@MODELS.register_module()
class CLIPResNet(BaseModule):
    """The ResNet of CLIP with its attention pool kept dense.

    `Learning Transferable Visual Models From Natural Language Supervision
    <https://arxiv.org/abs/2103.00020>`_, section 2.4: a stem of three convolutions, strides of
    convolutions replaced by average pooling, attention in place of the global average. Here the
    attention gives a feature for each cell, as in `CRIS <https://arxiv.org/abs/2111.15174>`_.
    Parameters have the names of OpenAI's ``visual.*``; weights come from ``init_cfg`` or a
    checkpoint, see ``tools/model_converters/convert.py clip``. Without, they are drawn as for
    CLIP's own training.

    Args:
        depth: 101 or 50: the bottlenecks of the four stages and ``embed_dim`` of the attention
            pool.
        width: Channels of the stem's output; the stages have 4, 8, 16 and 32 times as many.
        blocks: Bottlenecks of the four stages, in place of the depth's.
        stem_stride: Pixels per cell behind the stem: 4 as CLIP, or 2, without its average pooling,
            for small pictures. All strides below are then half as large.
        attention_pool: Settings of :class:`DenseAttentionPool` that differ from CLIP's
            (``embed_dim``, ``num_heads``, ``grid_size``), or from CRIS's (``connect``). None
            leaves it out, and the last map is the fourth stage's.
        init_cfg: Initialisation, such as ``dict(type='Pretrained', checkpoint=...)``.

    Attributes:
        out_channels: Channels of the three maps.

    Raises:
        ValueError: If there is no such depth or stride, or ``blocks`` is not of four stages.
    """

    def __init__(
        self,
        depth: int = 101,
        width: int = 64,
        blocks: Sequence[int] | None = None,
        stem_stride: int = 4,
        attention_pool: Mapping | None = MappingProxyType({}),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if depth not in _PRESETS:
            raise ValueError(f'depth must be one of {list(_PRESETS)}, got {depth}')
        preset, embed_dim = _PRESETS[depth]
        blocks = preset if blocks is None else blocks
        if len(blocks) != 4 or min(blocks) < 1:
            raise ValueError(f'blocks must be four numbers of bottlenecks, got {list(blocks)}')
        if stem_stride not in (2, 4):
            raise ValueError(f'stem_stride must be 4 or 2, got {stem_stride}')
        self.stem_pool = nn.AvgPool2d(2) if stem_stride == 4 else nn.Identity()
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, blocks[0], stride=1)
        self.layer2 = _stage(width * 4, width * 2, blocks[1], stride=2)
        self.layer3 = _stage(width * 8, width * 4, blocks[2], stride=2)
        self.layer4 = _stage(width * 16, width * 8, blocks[3], stride=2)
        channels = width * 32
        self.attnpool = None
        if attention_pool is not None:
            # CLIP's heads have 64 channels.
            settings = dict(embed_dim=embed_dim, num_heads=max(channels // 64, 1))
            settings |= dict(attention_pool)
            self.attnpool = DenseAttentionPool(channels, **settings)
            channels = settings['embed_dim']
        self.out_channels = (width * 8, width * 16, channels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode images.

        Args:
            images: Normalised; the sides should be multiples of 32. Shape (B, 3, H, W).

        Returns:
            ``layer2`` of stride 8, ``layer3`` of stride 16, and of stride 32 the attention pool's
            map, or ``layer4`` without it. Each (B, C, h, w) with C as in ``out_channels``.
        """
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)))
        x = self.layer1(self.stem_pool(x))
        layer2 = self.layer2(x)
        layer3 = self.layer3(layer2)
        last = self.layer4(layer3)
        if self.attnpool is not None:
            last = self.attnpool(last)
        return layer2, layer3, last


class Bottleneck(nn.Module):
    """A residual block whose stride is an average pooling, also before the shortcut.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the 3 x 3 convolution; the output has four times as many.
        stride: Side of the pooled area; 1 pools nothing.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * 4
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        # Training starts from the shortcuts alone.
        nn.init.zeros_(self.bn3.weight)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample = None
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) to (B, 4 channels, h / stride, w / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(self.pool(out)))
        shortcut = x if self.downsample is None else self.downsample(self.pool(x))
        return F.relu(out + shortcut)


def _stage(in_channels: int, channels: int, num_blocks: int, stride: int) -> nn.Sequential:
    """Bottlenecks of which the first has the stride."""
    rest = [Bottleneck(channels * 4, channels, 1) for _ in range(num_blocks - 1)]
    return nn.Sequential(Bottleneck(in_channels, channels, stride), *rest)


class DenseAttentionPool(nn.Module):
    """CLIP's attention pool with every cell of the map as a query.

    CLIP asks with the mean of the map and gets one feature for the image; here the cells attend
    to each other, and the mean is left out. The position embedding is resized to the map.

    Args:
        channels: Channels of the input.
        embed_dim: Channels of the output.
        num_heads: Attention heads.
        grid_size: Side of the grid of the position embedding: CLIP's images of 224 pixels give 7.
        connect: Whether there is a connecting branch, as in CRIS: a 1 x 1 convolution and batch
            normalisation of the input. The output is then ``relu(attention + branch)``, else the
            attention alone, in CLIP's space of features. There are no published weights of it.

    Raises:
        ValueError: If the channels do not divide into the heads.
    """

    def __init__(
        self,
        channels: int,
        embed_dim: int,
        num_heads: int,
        grid_size: int = 7,
        connect: bool = True,
    ) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f'{channels} channels do not divide into {num_heads} heads')
        self.num_heads = num_heads
        self.grid_size = grid_size
        # The first is the place of the mean, which has no part here but stands in checkpoints.
        self.positional_embedding = nn.Parameter(
            torch.randn(grid_size**2 + 1, channels) / channels**0.5
        )
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, embed_dim)
        for proj in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            nn.init.normal_(proj.weight, std=channels**-0.5)
        self.connect = None
        if connect:
            self.connect = nn.Sequential(
                nn.Conv2d(channels, embed_dim, 1, bias=False), nn.BatchNorm2d(embed_dim)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, embed_dim, h, w)."""
        shape = x.shape[-2:]
        tokens = (x + self.resized_embedding(shape)).flatten(2).transpose(1, 2)
        query, key, value = (
            proj(tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        context = F.scaled_dot_product_attention(query, key, value)
        out = self.c_proj(context.transpose(1, 2).flatten(2))
        out = out.transpose(1, 2).unflatten(-1, shape)
        return out if self.connect is None else F.relu(out + self.connect(x))

    def resized_embedding(self, shape: tuple[int, int]) -> Tensor:
        """The position embedding on a map of the shape (h, w), bicubic. Shape (channels, h, w)."""
        embedding = self.positional_embedding[1:]
        # As a product with what becomes of each cell alone: the gradient of the interpolation is
        # not deterministic on a GPU.
        cells = torch.eye(len(embedding), device=embedding.device, dtype=embedding.dtype)
        cells = cells.unflatten(-1, (1, self.grid_size, self.grid_size))
        shares = F.interpolate(cells, shape, mode='bicubic', align_corners=False).flatten(1)
        with torch.autocast(embedding.device.type, enabled=False):
            return (embedding.T @ shares).unflatten(-1, shape)
