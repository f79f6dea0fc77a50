from collections.abc import Sequence

from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule
from torch import Tensor, nn

from .deformable_attention import DeformableAttention

_RESIDUALS = ('identity', 'query', 'attention')


class DeformLayer(BaseModule):
    """Deformable attention and a feed-forward network: the layer of DRMN.

    The default is that of the official code, which is the encoder layer of `Deformable DETR
    <https://arxiv.org/abs/2010.04159>`_: with V the output of the attention and W a linear map,

    ``a = LN(identity + dropout(V))``, ``f = LN(a + dropout(W2 dropout(relu(W1 a))))``.

    Eq. 8 of DRMN, ``f = FFN(norm(V + dropout(V)))``, is ``residual='attention',
    ffn_residual=False``. That V is its own residual, so that nothing of the query itself goes
    on, may be a slip of the pen; ``residual='query'`` is the usual form of the same equation.
    The paper has neither a width of the FFN nor a dropout rate; those of the official code stand.

    Matrices are drawn as the official code draws them, by Xavier's uniform initialisation, the
    attention as its own paper says.

    Args:
        channels: Channels C of queries and memory.
        num_heads: Heads of the attention.
        num_levels: Levels of the memory.
        num_points: Points that a head samples on each level.
        feedforward_channels: Width of the FFN.
        dropout: Dropout rate.
        residual: What is added to the attention's output: ``'identity'``, what the caller
            gives as such; ``'query'``; or ``'attention'``, the output itself.
        ffn_residual: Whether the FFN has a residual and a normalisation behind it.
        init_cfg: Initialisation instead of the one above.

    Raises:
        ValueError: If there is no such residual.
    """

    def __init__(
        self,
        channels: int = 256,
        num_heads: int = 8,
        num_levels: int = 4,
        num_points: int = 4,
        feedforward_channels: int = 256,
        dropout: float = 0.1,
        residual: str = 'identity',
        ffn_residual: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if residual not in _RESIDUALS:
            raise ValueError(f'residual must be one of {_RESIDUALS}, got {residual!r}')
        self.residual = residual
        self.attention = DeformableAttention(channels, num_heads, num_levels, num_points)
        self.dropout = nn.Dropout(dropout)
        self.attention_norm = nn.LayerNorm(channels)
        self.ffn = FFN(channels, feedforward_channels, ffn_drop=dropout, add_identity=ffn_residual)
        self.ffn_norm = nn.LayerNorm(channels) if ffn_residual else nn.Identity()
        xavier_matrices(self.ffn)

    def forward(
        self,
        query: Tensor,
        memory: Tensor,
        reference_points: Tensor,
        spatial_shapes: Sequence[tuple[int, int]],
        identity: Tensor | None = None,
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Re-encode pixels by what they find in the memory.

        Args:
            query: The pixels, with what tells their place. Shape (B, Nq, C); the K pixels of
                several phrases of an image stand one after the other.
            memory: The pixels of all levels, (B, S, C), or what
                ``attention.project_value`` made of them.
            reference_points: Centres of the query's pixels, xy in [0, 1]. Shape (B, Nq, 2)
                or (Nq, 2).
            spatial_shapes: ``(height, width)`` of each level.
            identity: For ``residual='identity'``: what is added to the attention's output. Any
                shape that broadcasts to (B, Nq, C).
            padding_mask: True where a pixel of the memory is padding. Shape (B, S). Without
                effect on projected memory.

        Returns:
            Shape (B, Nq, C).

        Raises:
            ValueError: If there is an identity and no use for it, or the other way round.
        """
        if (identity is not None) != (self.residual == 'identity'):
            given = 'no identity was' if identity is None else 'an identity was'
            raise ValueError(f"residual='{self.residual}', but {given} given")
        found = self.attention(query, memory, reference_points, spatial_shapes, padding_mask)
        base = dict(identity=identity, query=query, attention=found)[self.residual]
        return self.ffn_norm(self.ffn(self.attention_norm(base + self.dropout(found))))


def xavier_matrices(module: nn.Module) -> None:
    """Draw all weights with two or more axes by Xavier's uniform initialisation; leave others."""
    for weight in module.parameters():
        if weight.dim() > 1:
            nn.init.xavier_uniform_(weight)
