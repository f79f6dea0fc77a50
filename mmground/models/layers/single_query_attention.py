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
    """

    def __init__(self, channels: int, num_heads: int, scale_channels: int | None = None) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f'{channels} channels do not divide into {num_heads} heads')
        self.num_heads = num_heads
        self.scale_channels = scale_channels or channels / num_heads
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
        to_query, to_key, to_value = self.attn.in_proj_weight.chunk(3)
        bias_query, _, bias_value = self.attn.in_proj_bias.chunk(3)
        query = (query @ to_query.T + bias_query).unflatten(-1, (self.num_heads, -1))
        to_key = to_key.unflatten(0, (self.num_heads, -1))
        query = torch.einsum('mhd,hdc->mhc', query, to_key)
        query = query / math.sqrt(self.scale_channels)
        scores = query @ keys.transpose(1, 2)
        # Autocast on the CPU would leave the softmax in bfloat16.
        precision = torch.promote_types(scores.dtype, torch.float32)
        weights = scores.softmax(-1, dtype=precision).to(keys.dtype)
        context = weights @ keys
        to_value = to_value.unflatten(0, (self.num_heads, -1))
        context = torch.einsum('mhc,hdc->mhd', context, to_value).flatten(1) + bias_value
        return self.attn.out_proj(context)
