"""How a round of LCPA aggregates the selected pixels into the queries: Table 4 of PPMN."""

from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmground.registry import MODELS

from ..layers.fusions import MutanFusion, SelectiveFusion
from ..layers.single_query_attention import SingleQueryAttention, SplitHeadAttention

NORM_ORDERS = ('post', 'sandwich', 'double_residual')


class PixelAggregation(BaseModule):
    """Aggregate the selected pixels into each query, then run a feed-forward network.

    The frame of Eqs. 14-15 of `PPMN <https://doi.org/10.1145/3503161.3548086>`_ around an
    aggregation A, of a query q and its pixels p. ``norm_order`` says where it normalises:

    - ``'post'``, the official code: ``a = LN(q + A(q, p)); q' = LN(a + FFN(a))``;
    - ``'sandwich'``, the paper: ``a = q + A(q, p); q' = a + LN(FFN(LN(a)))``;
    - ``'double_residual'``, the paper of DRMN (its Eqs. 15-16, whose FFN adds nothing):
      ``a = LN(q + dropout(q + A(q, p))); q' = FFN(a)``.

    Args:
        attention: A, a module of (M, C) queries and (M, S, C) pixels. It has this name in
            checkpoints, whatever it is.
        channels: Channels C of queries and pixels.
        ffn_channels: Hidden width of the feed-forward network.
        norm_order: ``'post'``, ``'sandwich'`` or ``'double_residual'``.
        dropout: Rate of the dropout of ``'double_residual'``; the others have none.
        init_cfg: Initialisation. None is PyTorch's own, as the official code.

    Raises:
        ValueError: If there is no such ``norm_order``.
    """

    def __init__(
        self,
        attention: nn.Module,
        channels: int,
        ffn_channels: int,
        norm_order: str = 'post',
        dropout: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if norm_order not in NORM_ORDERS:
            raise ValueError(f'norm_order must be one of {NORM_ORDERS}, got {norm_order!r}')
        self.norm_order = norm_order
        self.attention = attention
        self.attention_norm = nn.LayerNorm(channels)
        self.ffn = FFN(channels, ffn_channels, add_identity=norm_order == 'post')
        if norm_order == 'double_residual':
            self.dropout = nn.Dropout(dropout)
        else:
            self.ffn_norm = nn.LayerNorm(channels)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Aggregate.

        Args:
            queries: R^l, packed. Shape (M, C).
            context: H_f^l, the features of each query's pixels. Shape (M, S, C).

        Returns:
            R^{l+1}. Shape (M, C).
        """
        attended = queries + self.attention(queries, context)
        if self.norm_order == 'double_residual':
            return self.ffn(self.attention_norm(queries + self.dropout(attended)))
        if self.norm_order == 'post':
            return self.ffn_norm(self.ffn(self.attention_norm(attended)))
        return attended + self.ffn_norm(self.ffn(self.attention_norm(attended)))


@MODELS.register_module()
class MCA(PixelAggregation):
    """Multi-head cross-modal attention: a query attends to its pixels.

    Eqs. 12-15 of `PPMN <https://doi.org/10.1145/3503161.3548086>`_. By default it has the
    official code's form; where the paper's differs:

    - the attention is scaled by the root of the channels of one head; ``scale='all'`` takes
      all channels (Eq. 12);
    - normalisation follows each residual sum; ``norm_order='sandwich'`` is the paper's (Eqs.
      14-15), see :class:`PixelAggregation`;
    - each head projects all channels, and an output projection mixes the heads;
      ``split_heads=True`` is the paper's (Eq. 13), where a head sees its slice of the channels and
      the heads are concatenated, see
      :class:`~mmground.models.layers.single_query_attention.SplitHeadAttention`.

    Args:
        channels: Channels C of queries and pixels.
        num_heads: Heads D.
        ffn_channels: Hidden width of the feed-forward network.
        scale: Which channels' number scales the attention, those of one ``'head'`` or
            ``'all'``.
        norm_order: ``'post'``, ``'sandwich'`` or ``'double_residual'``.
        split_heads: Whether each head projects its own slice of the channels only.
        dropout: Rate of the dropout of ``'double_residual'``; the others have none.
        init_cfg: Initialisation. None is PyTorch's own, as the official code.

    Raises:
        ValueError: If there is no such ``scale`` or ``norm_order``, or if the channels do not
            divide into the heads.
    """

    def __init__(
        self,
        channels: int = 256,
        num_heads: int = 8,
        ffn_channels: int = 2048,
        scale: str = 'head',
        norm_order: str = 'post',
        split_heads: bool = False,
        dropout: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        if scale not in ('head', 'all'):
            raise ValueError(f"scale must be 'head' or 'all', got {scale!r}")
        attention = (SplitHeadAttention if split_heads else SingleQueryAttention)(
            channels, num_heads, scale_channels=channels if scale == 'all' else None
        )
        super().__init__(attention, channels, ffn_channels, norm_order, dropout, init_cfg)


@MODELS.register_module()
class MUTAN(PixelAggregation):
    """Bilinear fusion of a query with its pixels, in place of attention: Table 4 of PPMN.

    See :class:`~mmground.models.layers.fusions.MutanFusion` for what it computes and what is this
    implementation's choice. Sums, normalisations and feed-forward network around it stay, which
    is a choice too.

    Args:
        channels: Channels C of queries and pixels.
        factor_channels: Width of the embeddings of query and pixel.
        fused_channels: Width of their fusion.
        rank: Rank R of the slices of the core tensor.
        ffn_channels: Hidden width of the feed-forward network.
        norm_order: See :class:`PixelAggregation`.
        init_cfg: Initialisation. None is PyTorch's own.
    """

    def __init__(
        self,
        channels: int = 256,
        factor_channels: int = 360,
        fused_channels: int = 360,
        rank: int = 10,
        ffn_channels: int = 2048,
        norm_order: str = 'post',
        init_cfg: dict | None = None,
    ) -> None:
        fusion = MutanFusion(channels, factor_channels, fused_channels, rank)
        super().__init__(fusion, channels, ffn_channels, norm_order, init_cfg=init_cfg)


@MODELS.register_module()
class SKNet(PixelAggregation):
    """Selective fusion of a query with the mean of its pixels: Table 4 of PPMN, Sec. 4.4.

    See :class:`~mmground.models.layers.fusions.SelectiveFusion` for what it computes and what is
    this implementation's choice. Sums, normalisations and feed-forward network around it stay,
    which is a choice too.

    Args:
        channels: Channels C of queries and pixels.
        ffn_channels: Hidden width of the feed-forward network.
        norm_order: See :class:`PixelAggregation`.
        init_cfg: Initialisation. None is PyTorch's own.
    """

    def __init__(
        self,
        channels: int = 256,
        ffn_channels: int = 2048,
        norm_order: str = 'post',
        init_cfg: dict | None = None,
    ) -> None:
        fusion = SelectiveFusion(channels)
        super().__init__(fusion, channels, ffn_channels, norm_order, init_cfg=init_cfg)
