from collections.abc import Sequence

import torch
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttention,
    MultiScaleDeformableAttnFunction,
)
from torch import Tensor

from .deformable_sampling import deformable_sampling


def pixel_centres(
    spatial_shapes: Sequence[tuple[int, int]], device: torch.device | str | None = None
) -> Tensor:
    """Reference points of all pixels of all levels.

    Args:
        spatial_shapes: ``(height, width)`` of each level.
        device: Device of the result.

    Returns:
        Centres, xy, with (0, 0) the top left and (1, 1) the bottom right corner of a map;
        row-major, one level after the other. Shape (S, 2).
    """
    centres = []
    for height, width in spatial_shapes:
        y = (torch.arange(height, dtype=torch.float32, device=device) + 0.5) / height
        x = (torch.arange(width, dtype=torch.float32, device=device) + 0.5) / width
        centres.append(torch.stack(torch.meshgrid(x, y, indexing='xy'), -1).flatten(0, 1))
    return torch.cat(centres)


def flatten_levels(levels: Sequence[Tensor]) -> Tensor:
    """The pixels of all levels, row-major, one level after the other.

    Args:
        levels: Maps, each (B, C, h_l, w_l).

    Returns:
        Shape (B, S, C).
    """
    return torch.cat([level.flatten(2) for level in levels], -1).transpose(1, 2)


class DeformableAttention(MultiScaleDeformableAttention):
    """Multi-scale deformable attention in parts.

    Eq. 3 of `Deformable DETR <https://arxiv.org/abs/2010.04159>`_ (Eqs. 4-7 of DRMN). Parameters
    and their initialisation are those of mmcv's module. Unlike there, the forward pass ends
    with the output projection: residual and dropout are left to the layer. A memory that is read
    several times can be projected once, and where a query looks can be asked for.

    On GPUs mmcv's operator samples, elsewhere :func:`deformable_sampling`; both in float32 at
    least, because half precision cannot tell neighbouring pixels of a wide map apart.

    Args:
        channels: Channels C of queries and memory.
        num_heads: Heads.
        num_levels: Levels of the memory.
        num_points: Points that a head samples on each level.
    """

    def __init__(
        self, channels: int = 256, num_heads: int = 8, num_levels: int = 4, num_points: int = 4
    ) -> None:
        super().__init__(channels, num_heads, num_levels, num_points, dropout=0.0, batch_first=True)
        # The parent would make one even so.
        del self.dropout

    def project_value(self, memory: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Project the memory to the values that are sampled.

        Args:
            memory: The pixels of all levels, row-major, one level after the other. Shape
                (B, S, C).
            padding_mask: True where a pixel is padding and its value zero. Shape (B, S).

        Returns:
            Shape (B, S, heads, C / heads).
        """
        value = self.value_proj(memory)
        if padding_mask is not None:
            value = value.masked_fill(padding_mask[..., None], 0)
        return value.unflatten(-1, (self.num_heads, -1))

    def sampling(
        self, query: Tensor, reference_points: Tensor, spatial_shapes: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Where each query samples, and with which weight.

        Args:
            query: Shape (B, Nq, C).
            reference_points: Points that the offsets start from, xy in [0, 1] as of
                :func:`pixel_centres`, the same on all levels. Shape (B, Nq, 2) or (Nq, 2).
            spatial_shapes: ``(height, width)`` of each level.

        Returns:
            Locations, xy as the reference points, (B, Nq, heads, levels, points, 2), and
            weights that sum to one over levels and points, (B, Nq, heads, levels, points).

        Raises:
            ValueError: If there is another number of levels than the module was made for.
        """
        if len(spatial_shapes) != self.num_levels:
            raise ValueError(
                f'{len(spatial_shapes)} levels of shapes {list(spatial_shapes)} for an attention '
                f'over num_levels={self.num_levels}'
            )
        grid = (self.num_heads, self.num_levels, self.num_points)
        # Offsets are in pixels of their level.
        offsets = self.sampling_offsets(query).unflatten(-1, (*grid, 2))
        dtype = torch.promote_types(offsets.dtype, torch.float32)
        sizes = reference_points.new_tensor([shape[::-1] for shape in spatial_shapes])
        locations = reference_points[..., None, None, None, :] + offsets.to(dtype) / sizes[:, None]
        weights = self.attention_weights(query).unflatten(-1, (self.num_heads, -1))
        return locations, weights.softmax(-1, dtype=dtype).unflatten(-1, grid[1:])

    def attend(
        self,
        value: Tensor,
        spatial_shapes: Sequence[tuple[int, int]],
        locations: Tensor,
        weights: Tensor,
    ) -> Tensor:
        """Sample, weight and project.

        Args:
            value: As of :meth:`project_value`.
            spatial_shapes: ``(height, width)`` of each level.
            locations: As of :meth:`sampling`.
            weights: As of :meth:`sampling`.

        Returns:
            Shape (B, Nq, C).
        """
        dtype = value.dtype
        value, locations, weights = (
            tensor.to(torch.promote_types(tensor.dtype, torch.float32)).contiguous()
            for tensor in (value, locations, weights)
        )
        if value.is_cuda:
            shapes = torch.tensor(spatial_shapes, device=value.device)
            areas = shapes.prod(1)
            sums = MultiScaleDeformableAttnFunction.apply(
                value, shapes, areas.cumsum(0) - areas, locations, weights, self.im2col_step
            )
        else:
            sums = deformable_sampling(value, spatial_shapes, locations, weights)
        return self.output_proj(sums.to(dtype))

    def forward(
        self,
        query: Tensor,
        memory: Tensor,
        reference_points: Tensor,
        spatial_shapes: Sequence[tuple[int, int]],
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Attend, without residual.

        Args:
            query: Shape (B, Nq, C).
            memory: As for :meth:`project_value`, (B, S, C); or what it returned,
                (B, S, heads, C / heads), which is not projected again.
            reference_points: As for :meth:`sampling`.
            spatial_shapes: ``(height, width)`` of each level.
            padding_mask: As for :meth:`project_value`; without effect on projected memory.

        Returns:
            Shape (B, Nq, C).
        """
        value = self.project_value(memory, padding_mask) if memory.dim() == 3 else memory
        locations, weights = self.sampling(query, reference_points, spatial_shapes)
        return self.attend(value, spatial_shapes, locations, weights)
