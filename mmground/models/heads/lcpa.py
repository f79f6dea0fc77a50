import torch
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmground.registry import MODELS

from ..layers.matching import gather_pixels, smooth_logits
from ..layers.single_query_attention import SingleQueryAttention


@MODELS.register_module()
class MCA(BaseModule):
    """Multi-head cross-modal attention: aggregate selected pixels into each query.

    Eqs. 12-15 of `PPMN <https://doi.org/10.1145/3503161.3548086>`_: a query attends to
    its pixels and runs through a feed-forward network. It has the official code's form;
    where the paper's differs:

    - the attention is scaled by the root of the channels of one head (Eq. 12: of all
      channels), its projections mix the heads' channels and an output projection follows
      (Eq. 13: each head sees its slice of the channels, and the heads are concatenated);
    - normalisation follows each residual sum, ``a = LN(q + MCA(q)); q' = LN(a + FFN(a))``
      (Eqs. 14-15: ``a = q + MCA(q); q' = LN(FFN(LN(a))) + a``).

    Args:
        channels: Channels C of queries and pixels.
        num_heads: Heads D.
        ffn_channels: Hidden width of the feed-forward network.
        init_cfg: Initialisation. None is PyTorch's own, as the official code.
    """

    def __init__(
        self,
        channels: int = 256,
        num_heads: int = 8,
        ffn_channels: int = 2048,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.attention = SingleQueryAttention(channels, num_heads)
        self.attention_norm = nn.LayerNorm(channels)
        self.ffn = FFN(channels, ffn_channels)
        self.ffn_norm = nn.LayerNorm(channels)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Aggregate.

        Args:
            queries: R^l, packed. Shape (M, C).
            context: H_f^l, the features of each query's pixels. Shape (M, S, C).

        Returns:
            R^{l+1}. Shape (M, C).
        """
        queries = self.attention_norm(queries + self.attention(queries, context))
        return self.ffn_norm(self.ffn(queries))


@MODELS.register_module()
class LCPA(BaseModule):
    """Language-compatible pixel aggregation: one round's refinement of the queries.

    Sec. 3.3 of `PPMN <https://doi.org/10.1145/3503161.3548086>`_. Each query picks the
    S pixels of its image that match it best and aggregates them. It has the official
    code's form; where the paper's differs:

    - the S best pixels are the top S of the previous logits, smoothed (Eq. 11: an adaptive
      max pooling);
    - their features are taken from the round's own projection of F (paper: from F).

    Selection runs over the padded canvas, as in the official code, and takes no gradient.

    Args:
        channels: Channels C of queries and pixels.
        num_points: S, the pixels of each query; all of them where the map has fewer.
        smooth: Whether the selection sees the maps as they are after an upsampling by two
            and a downsampling back, as between two rounds of the official code.
        aggregation: Config of the part that aggregates them, such as :class:`MCA`, the
            default; it also gets ``channels``.
        init_cfg: Initialisation of the whole part.
    """

    def __init__(
        self,
        channels: int = 256,
        num_points: int = 200,
        smooth: bool = True,
        aggregation: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_points = num_points
        self.smooth = smooth
        self.aggregation = MODELS.build(dict(channels=channels, **(aggregation or {'type': 'MCA'})))

    def forward(
        self, queries: Tensor, pixels: Tensor, logits: Tensor, image_index: Tensor
    ) -> Tensor:
        """Refine the queries, Eqs. 11-15.

        Args:
            queries: R of this round, packed. Shape (M, C).
            pixels: This round's projection of F. Shape (B, C, h, w).
            logits: H of the previous round. Shape (M, h, w).
            image_index: The image of each query, ascending. Shape (M, ).

        Returns:
            R of the next round. Shape (M, C).
        """
        index = self.select(logits)
        return self.aggregation(queries, gather_pixels(pixels, index, image_index))

    @torch.no_grad()
    def select(self, logits: Tensor) -> Tensor:
        """Positions of each query's language-compatible pixels, Eq. 11.

        Args:
            logits: Shape (M, h, w).

        Returns:
            Row-major positions on the map, in no particular order. Shape (M, S).
        """
        logits = logits.float()
        if self.smooth:
            logits = smooth_logits(logits)
        logits = logits.flatten(1)
        return logits.topk(min(self.num_points, logits.shape[1]), sorted=False).indices
