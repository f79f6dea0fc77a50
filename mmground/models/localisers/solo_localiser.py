import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import SOLOHead
from mmdet.models.necks import FPN
from mmdet.models.utils import generate_coordinate
from torch import Tensor

from mmground.models.layers.pyramid import pyramid_level
from mmground.registry import MODELS

from .base_localiser import Localiser
from .proposals import MaskProposals


@MODELS.register_module()
class SOLOLocaliser(Localiser):
    """Masks from one level of `SOLO <https://arxiv.org/abs/1912.04488>`_.

    PBREC reads P4, level 2 of five, with a grid of 24 x 24 points. Class scores are not used.

    Of the pyramid only what the level needs is computed, of the head the mask branch on that
    level; and of the last convolution the rows of the points whose masks are asked for.
    There is no cache as for boxes: which masks are needed depends on the expressions, and all of
    an image's would be millions of values.

    Args:
        detector: Config of mmdet's SOLO, with an ``FPN`` or without neck, see
            :class:`Localiser`.
        level: Index of the level.
        checkpoint: See :class:`Localiser`.
    """

    proposes = 'mask'
    kind = 'solo'

    def __init__(self, detector: dict, level: int = 2, checkpoint: str | None = None) -> None:
        super().__init__(detector, level, checkpoint)

    @property
    def num_levels(self) -> int:
        """Levels of the detector's head."""
        return self.detector.mask_head.num_levels

    def _check_detector(self) -> None:
        head = getattr(self.detector, 'mask_head', None)
        # Its subclasses make masks in other ways.
        if type(head) is not SOLOHead:
            raise ValueError(
                f'SOLOLocaliser needs a detector with a SOLOHead, but the '
                f'{type(self.detector).__name__} has '
                f'{"none" if head is None else f"a {type(head).__name__}"}'
            )
        neck = self.detector.neck
        if neck is not None and not isinstance(neck, FPN):
            raise ValueError(f'SOLOLocaliser needs an FPN or no neck, not {type(neck).__name__}')

    def propose(self, images: Tensor) -> MaskProposals:
        """What the masks of all points of the level are made of.

        Args:
            images: Normalised for the detector. Shape (B, 3, H, W).

        Returns:
            The proposals.
        """
        head, level = self.detector.mask_head, self.level
        feature, finest_shape = self._feature(self.detector.backbone(images))
        coordinates = generate_coordinate(feature.shape, feature.device).to(feature)
        feature = torch.cat((feature, coordinates), 1)
        for conv in head.mask_convs:
            feature = conv(feature)
        feature = F.interpolate(feature, scale_factor=2, mode='bilinear')
        kernels = head.conv_mask_list[level]
        side = head.num_grids[level]
        return MaskProposals(
            grid=(side, side),
            points=_cell_centres(side, images),
            features=feature,
            weight=kernels.weight.flatten(1),
            bias=kernels.bias,
            shape=tuple(2 * length for length in finest_shape),
        )

    def _feature(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, tuple[int, int]]:
        """The level's map as the head resizes it, and the size of the finest after that.

        SOLO halves the finest level and enlarges the coarsest.
        """
        neck, level = self.detector.neck, self.level
        finest = feats[0 if neck is None else neck.start_level]
        finest_shape = tuple(length // 2 for length in finest.shape[-2:])
        if level == 0:
            feature = pyramid_level(neck, feats, 0)
            return F.interpolate(feature, scale_factor=0.5, mode='bilinear'), finest_shape
        if level < self.num_levels - 1:
            return pyramid_level(neck, feats, level), finest_shape
        # The size of the coarsest is that of the level before it.
        levels = feats if neck is None else neck(feats)
        return self.detector.mask_head.resize_feats(levels)[level], finest_shape


def _cell_centres(side: int, images: Tensor) -> Tensor:
    """xy of the centres of side x side cells over the canvas. Shape (side**2, 2)."""
    height, width = images.shape[-2:]
    steps = (torch.arange(side, device=images.device) + 0.5) / side
    y, x = torch.meshgrid(steps * height, steps * width, indexing='ij')
    return torch.stack((x.flatten(), y.flatten()), dim=-1)
