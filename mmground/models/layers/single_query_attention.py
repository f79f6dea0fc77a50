import math

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn


class SingleQueryAttention(BaseModule):
    """Multi-head attention of one query over keys of its own.

    The value is that of ``torch.nn.MultiheadAttention`` (same parameters under the same names;
    unless told otherwise, the same scale ``1 / sqrt(channels / num_heads)``) for a query of
    length one whose keys are also the values. It is computed without projecting the keys:
    with one query, ``(W_q q) . (W_k k) = (W_k^T W_q q) . k``, the key's bias is the
    same for all keys and drops out of the softmax, and the values' projection
    commutes with their weighted mean. For S keys this takes ``num_heads`` products a
    key and channel where the projection takes ``channels``.

    Args:
        channels: Channels C of queries and keys.
        num_heads: Heads.
        scale_channels: Number by whose root the scores are divided. None: the channels of
            one head, as PyTorch's module.

    Raises:
        ValueError: If the channels do not divide into the heads.
    """

    def __init__(self, channels: int, num_heads: int, scale_channels: int | None = None) -> None:
        super().__init__()
        width = _head_channels(channels, num_heads)
        self.num_heads = num_heads
        self.scale_channels = scale_channels or width
        # Holds the parameters and their initialisation only.
        self.attn = nn.MultiheadAttention(channels, num_heads, batch_first=True)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Attend.

        Args:
            query: Shape (M, C).
            keys: The keys, and values, of each query. Shape (M, S, C).

        Returns:
            Shape (M, C).
        """
        context = self.attention_weights(query, keys).to(keys.dtype) @ keys
        to_value = self.attn.in_proj_weight.chunk(3)[2].unflatten(0, (self.num_heads, -1))
        bias_value = self.attn.in_proj_bias.chunk(3)[2]
        context = torch.einsum('mhc,hdc->mhd', context, to_value).flatten(1) + bias_value
        return self.attn.out_proj(context)

    def attention_weights(self, query: Tensor, keys: Tensor) -> Tensor:
        """How much each key counts.

        Args:
            query: As of :meth:`forward`.
            keys: As of :meth:`forward`.

        Returns:
            Weights that sum to one over the keys, float32 at least. Shape (M, heads, S).
        """
        to_query, to_key, _ = self.attn.in_proj_weight.chunk(3)
        bias_query = self.attn.in_proj_bias.chunk(3)[0]
        query = (query @ to_query.T + bias_query).unflatten(-1, (self.num_heads, -1))
        to_key = to_key.unflatten(0, (self.num_heads, -1))
        query = torch.einsum('mhd,hdc->mhc', query, to_key)
        query = query / math.sqrt(self.scale_channels)
        return _softmax(query @ keys.transpose(1, 2))


class SplitHeadAttention(BaseModule):
    """Attention of one query over keys of its own, in heads that see a slice of the channels each.

    Eqs. 12-13 of `PPMN <https://doi.org/10.1145/3503161.3548086>`_: queries and keys are cut into
    one slice per head *before* they are projected, so a head's projections W_5, W_6 and W_7 are
    square matrices of a slice's channels; the heads' outputs stand next to each other, and
    nothing mixes them afterwards. As the equations have it, there is no bias.

    The paper's W_5, W_6 and W_7 have no index of the head. Here each head has its own, as in the
    Transformer that the paper follows; they are drawn as Xavier's uniform initialisation draws
    each matrix.

    Args:
        channels: Channels C of queries and keys.
        num_heads: Heads D.
        scale_channels: Number by whose root the scores are divided. None: the channels of
            one head.

    Raises:
        ValueError: If the channels do not divide into the heads.
    """

    def __init__(self, channels: int, num_heads: int, scale_channels: int | None = None) -> None:
        super().__init__()
        width = _head_channels(channels, num_heads)
        self.num_heads = num_heads
        self.scale_channels = scale_channels or width
        # W_5, W_6 and W_7 of each head; they are applied from the right.
        self.in_proj_weight = nn.Parameter(torch.empty(3, num_heads, width, width))
        for matrix in self.in_proj_weight.flatten(0, 1):
            nn.init.xavier_uniform_(matrix)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Attend.

        Args:
            query: Shape (M, C).
            keys: The keys, and values, of each query. Shape (M, S, C).

        Returns:
            Shape (M, C).
        """
        keys = self._slices(keys)
        weights = self._weights_of_slices(query, keys)[:, :, None]
        context = (weights.to(keys.dtype) @ keys)[:, :, 0]
        return torch.einsum('mhd,hde->mhe', context, self.in_proj_weight[2]).flatten(1)

    def attention_weights(self, query: Tensor, keys: Tensor) -> Tensor:
        """How much each key counts.

        Args:
            query: As of :meth:`forward`.
            keys: As of :meth:`forward`.

        Returns:
            Weights that sum to one over the keys, float32 at least. Shape (M, heads, S).
        """
        return self._weights_of_slices(query, self._slices(keys))

    def _slices(self, keys: Tensor) -> Tensor:
        """The slice of each head: (M, S, C) to (M, heads, S, C / heads)."""
        return keys.unflatten(-1, (self.num_heads, -1)).transpose(1, 2).contiguous()

    def _weights_of_slices(self, query: Tensor, keys: Tensor) -> Tensor:
        query = query.unflatten(-1, (self.num_heads, -1))
        to_query, to_key = self.in_proj_weight[:2]
        # As in SingleQueryAttention, the keys themselves need no projection.
        query = torch.einsum('mhd,hde,hfe->mhf', query, to_query, to_key)
        query = query / math.sqrt(self.scale_channels)
        return _softmax(query[:, :, None] @ keys.transpose(2, 3))[:, :, 0]


def _head_channels(channels: int, num_heads: int) -> int:
    if channels % num_heads:
        raise ValueError(f'{channels} channels do not divide into {num_heads} heads')
    return channels // num_heads


def _softmax(scores: Tensor) -> Tensor:
    """Softmax over the keys. Autocast on the CPU would leave it in bfloat16."""
    return scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))
