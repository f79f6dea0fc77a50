"""Ways to bring the selected pixels of each query into one vector, beside attention.

Table 4 of PPMN exchanges its attention for these. Each takes queries (M, C) and the features of
their pixels (M, S, C), and returns (M, C).
"""

import torch
from torch import Tensor, nn


class MutanFusion(nn.Module):
    """Fuse each query with its pixels by a low-rank bilinear form.

    `MUTAN <https://arxiv.org/abs/1705.06676>`_: both sides are embedded,
    ``q' = tanh(W_q q)`` and ``v' = tanh(W_v v)``, and merged by a core tensor whose slices
    have rank R, ``z = sum_r (M_r q') * (N_r v')``, which a last projection brings to the
    output.

    Table 4 of PPMN names MUTAN and says no more. These are choices of this implementation: every
    pixel is fused with its query and the S fusions are averaged (behind the embeddings the
    form is linear in the pixel, so one fusion with the mean embedding is computed instead);
    the sizes default to those of MUTAN without attention; there is no dropout, as in the
    rest of PPMN.

    Args:
        channels: Channels C.
        factor_channels: Width of the embeddings q' and v'.
        fused_channels: Width of z.
        rank: R.
    """

    def __init__(
        self,
        channels: int,
        factor_channels: int = 360,
        fused_channels: int = 360,
        rank: int = 10,
    ) -> None:
        super().__init__()
        self.rank = rank
        self.embed_query = nn.Linear(channels, factor_channels)
        self.embed_pixel = nn.Linear(channels, factor_channels)
        # The R matrices M_r, and N_r, one below the other.
        self.merge_query = nn.Linear(factor_channels, rank * fused_channels, bias=False)
        self.merge_pixel = nn.Linear(factor_channels, rank * fused_channels, bias=False)
        self.out_proj = nn.Linear(fused_channels, channels)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Fuse.

        Args:
            queries: Shape (M, C).
            context: The pixels of each query. Shape (M, S, C).

        Returns:
            Shape (M, C).
        """
        queries = self.merge_query(self.embed_query(queries).tanh())
        pixels = self.merge_pixel(self.embed_pixel(context).tanh().mean(1))
        fused = (queries * pixels).unflatten(-1, (self.rank, -1)).sum(1)
        return self.out_proj(fused)


class SelectiveFusion(nn.Module):
    """Choose, channel by channel, between each query and its visual context.

    Sec. 4.4 of PPMN, after `Selective Kernel Networks <https://arxiv.org/abs/1903.06586>`_: the
    context is the mean of the query's pixels; the product of query and context gives, by a linear
    map, weights for every channel, by which the two are added.

    The weights of a channel sum to one over the two branches, as in SKNet. PPMN does not say
    so, nor does it mention SKNet's reduction in front of the weights; the paper's single linear
    map is kept.

    Args:
        channels: Channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weights = nn.Linear(channels, 2 * channels)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Fuse.

        Args:
            queries: Shape (M, C).
            context: The pixels of each query. Shape (M, S, C).

        Returns:
            Shape (M, C).
        """
        branches = torch.stack((context.mean(1), queries), 1)
        scores = self.weights(branches.prod(1)).unflatten(-1, (2, -1))
        # Autocast on the CPU would leave the softmax in bfloat16.
        weights = scores.softmax(1, dtype=torch.promote_types(scores.dtype, torch.float32))
        return (weights.to(branches.dtype) * branches).sum(1)
