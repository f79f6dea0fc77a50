from mmengine.model import BaseModule
from torch import Tensor, nn

from mmground.registry import MODELS


@MODELS.register_module()
class ContextualStage(BaseModule):
    """A stage of the cascade: contextual embeddings are learned, then the features refreshed.

    Secs. 3.4.1-3.4.2 of JMCELN (`Referring Image Segmentation via Joint Mask Contextual Embedding
    Learning and Progressive Alignment Network <https://aclanthology.org/2023.emnlp-main.481>`_).
    With A(query, key, value) multi-head attention,

    ``q^(i+1) = A(q^i, F_m, F_mt^i) + q^i``  (Eq. 3),
    ``F' = A(F_mt^i, q^(i+1), q^(i+1)) + F_mt^i``  (Eq. 4), and
    ``F_mt^(i+1) = PAN(F', F_mt^i)``.

    The paper leaves open, so it is a choice: that the attentions project their inputs and their
    output, as usual; that there is no perceptron behind them; and the LayerNorm after Eq. 3,
    without which q grows from stage to stage.

    Args:
        channels: C.
        num_heads: Heads of both attentions.
        norm_context: Whether Eq. 3 ends with a LayerNorm. False is the equation.
        alignment: Config of the alignment; it also gets ``channels``. None leaves it out: Eq. 4 has
            the result.
        init_cfg: Initialisation instead of PyTorch's.
    """

    def __init__(
        self,
        channels: int = 1024,
        num_heads: int = 8,
        norm_context: bool = True,
        alignment: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.context_attention = nn.MultiheadAttention(channels, num_heads, batch_first=True)
        self.context_norm = nn.LayerNorm(channels) if norm_context else nn.Identity()
        self.mask_attention = nn.MultiheadAttention(channels, num_heads, batch_first=True)
        self.alignment = MODELS.build(dict(alignment, channels=channels)) if alignment else None

    def forward(
        self,
        context: Tensor,
        fused: Tensor,
        values: Tensor,
        features: Tensor,
        padding: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run the stage.

        Args:
            context: q^i. Shape (T, Q, C).
            fused: F_m, the keys of Eq. 3. Shape (T, C, h, w).
            values: The values of Eq. 3: F_mt^i, or F_mt^0 if the embeddings do not adapt to
                what the stages find. Shape (T, C, h, w).
            features: F_mt^i. Shape (T, C, h, w).
            padding: True at cells from which no embedding reads. Shape (T, h, w).

        Returns:
            q^(i+1), (T, Q, C), and F_mt^(i+1), (T, C, h, w).
        """
        # Without the weights, PyTorch computes attention by its fused kernels.
        found, _ = self.context_attention(
            context,
            _cells(fused),
            _cells(values),
            key_padding_mask=None if padding is None else padding.flatten(1),
            need_weights=False,
        )
        context = self.context_norm(found + context)
        found, _ = self.mask_attention(_cells(features), context, context, need_weights=False)
        updated = found.transpose(1, 2).unflatten(2, features.shape[-2:]) + features
        if self.alignment is not None:
            updated = self.alignment(updated, features)
        return context, updated


def _cells(maps: Tensor) -> Tensor:
    """Cells in a row, row-major. Shape (T, h w, C)."""
    return maps.flatten(2).transpose(1, 2)
