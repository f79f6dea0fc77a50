import torch
from mmcv.ops import RoIAlign
from mmdet.models.backbones import ResNet
from mmdet.models.layers import ResLayer
from mmengine.model import BaseModule
from torch import Tensor

from mmground.registry import MODELS


def coordinate_map(shape: tuple[int, int], sizes: Tensor) -> Tensor:
    """Where each cell of B maps is, the middle of each map being 0.

    Args:
        shape: Size (h, w) that the maps are padded to.
        sizes: Size of each map without that padding. Shape (B, 2), floating-point.

    Returns:
        y and x, ``index / (size / 2) - 1``; on the padding, those of the last cell before it. Shape
        (B, 2, h, w).
    """
    axes = []
    for length, own in zip(shape, sizes[..., None].unbind(1), strict=True):
        index = torch.arange(length, device=sizes.device, dtype=sizes.dtype)
        axes.append(index.minimum(own - 1) / (own / 2) - 1)
    rows, columns = axes
    return torch.stack(
        (rows[:, :, None].expand(-1, -1, shape[1]), columns[:, None].expand(-1, shape[0], -1)),
        dim=1,
    )


@MODELS.register_module()
class RegionEncoder(BaseModule):
    """Describes boxes of images: RoIAlign, and the last stage of a ResNet on each crop.

    The map it reads is the one before that stage (C4). A crop becomes the mean of the stage's
    output.

    Args:
        depth: Of the ResNet.
        base_channels: Channels of its stem.
        stride: Stride of the stage. As in the official code of ReIR, crops are not made smaller.
        dilation: Dilation of the stage.
        roi_size: Cells per side of a crop.
        sampling_ratio: Points per cell and axis.
        featmap_stride: Pixels of the image per cell of the map.
        spatial: Whether a crop of the map of coordinates follows, see :func:`coordinate_map`:
            2 * roi_size ** 2 channels, y first. The paper has it, its official recipe does not.
            Coordinates are those of the canvas that an image has by itself; in the official code
            they are of the batch's, so that they depend on the other images.
        norm_eval: Whether normalisation keeps its running statistics in training mode.
        init_cfg: Initialisation.
    """

    def __init__(
        self,
        depth: int = 101,
        base_channels: int = 64,
        stride: int = 1,
        dilation: int = 1,
        roi_size: int = 7,
        sampling_ratio: int = 2,
        featmap_stride: int = 16,
        spatial: bool = False,
        norm_eval: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        block, stage_blocks = ResNet.arch_settings[depth]
        planes = base_channels * 8
        self.layer4 = ResLayer(
            block=block,
            inplanes=base_channels * 4 * block.expansion,
            planes=planes,
            num_blocks=stage_blocks[3],
            stride=stride,
            dilation=dilation,
        )
        self.pool = RoIAlign(
            roi_size, 1 / featmap_stride, sampling_ratio, pool_mode='avg', aligned=True
        )
        self.featmap_stride = featmap_stride
        self.spatial = spatial
        self.norm_eval = norm_eval
        self.visual_channels = planes * block.expansion
        self.spatial_channels = 2 * roi_size**2 if spatial else 0
        self.out_channels = self.visual_channels + self.spatial_channels

    def train(self, mode: bool = True) -> 'RegionEncoder':
        """Set the mode; normalisation stays as it is with ``norm_eval``."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(
        self, feats: Tensor, boxes: Tensor, image_index: Tensor, canvases: Tensor | None = None
    ) -> Tensor:
        """Describe boxes.

        Args:
            feats: C4 of the B images. Shape (B, C, h, w).
            boxes: xyxy in pixels of the canvas. Shape (n, 4).
            image_index: The image of each box. Shape (n, ).
            canvases: (height, width) of the canvas that each image has by itself, see
                :meth:`Geometry.own_canvas`. Shape (B, 2). None: that of the batch.

        Returns:
            Shape (n, out_channels).
        """
        if not len(boxes):
            return feats.new_zeros(0, self.out_channels)
        # The operator reads memory as if channels came first, and has no bfloat16.
        feats = feats.float().contiguous()
        rois = torch.cat((image_index[:, None].to(boxes), boxes), dim=1).to(feats)
        described = self.layer4(self.pool(feats, rois)).mean((2, 3))
        if not self.spatial:
            return described
        shape = tuple(feats.shape[-2:])
        if canvases is None:
            sizes = feats.new_tensor(shape).expand(len(feats), 2)
        else:
            # Each halving of a map rounds up.
            sizes = (canvases.to(feats) / self.featmap_stride).ceil()
        places = self.pool(coordinate_map(shape, sizes), rois)
        return torch.cat((described, places.flatten(1)), dim=1)
