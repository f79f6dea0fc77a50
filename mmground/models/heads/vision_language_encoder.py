import torch
from mmcv.cnn.bricks.transformer import FFN
from mmdet.models.layers import SinePositionalEncoding
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmground.registry import MODELS

from ..layers.deform_layer import xavier_matrices
from ..layers.position_codes import sequence_position_code


class VisionLanguageLayer(BaseModule):
    """A layer of :class:`VisionLanguageEncoder`.

    With x the tokens and p their position codes,

    ``a = LN(x + p + dropout(attention(query=x + p, key=x + p, value=x)))``,
    ``y = LN(a + dropout(W2 dropout(gelu(W1 a))))``.

    That the codes are part of the residual, so that they add up from layer to layer, is the
    official code's.

    Args:
        channels: Channels C.
        num_heads: Heads of the attention.
        feedforward_channels: Width of the FFN.
        dropout: Dropout rate, of the attention's weights as well.
    """

    def __init__(
        self,
        channels: int = 256,
        num_heads: int = 8,
        feedforward_channels: int = 1024,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, num_heads, dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.attention_norm = nn.LayerNorm(channels)
        # GELU by its definition; the tanh approximation is off by 2e-4 in the result.
        self.ffn = FFN(channels, feedforward_channels, act_cfg=dict(type='GELU'), ffn_drop=dropout)
        self.ffn_norm = nn.LayerNorm(channels)
        xavier_matrices(self)

    def forward(
        self, tokens: Tensor, positions: Tensor, padding_mask: Tensor, num_queries: int
    ) -> Tensor:
        """Let tokens read from all tokens.

        Args:
            tokens: x. Shape (T, S, C).
            positions: p. Shape (T, S, C).
            padding_mask: True at tokens that nothing is read from. Shape (T, S).
            num_queries: How many tokens, the first ones, are computed.

        Returns:
            y of the first tokens. Shape (T, num_queries, C).
        """
        placed = tokens + positions
        queries = placed[:, :num_queries]
        # Without the weights, PyTorch computes it by its fused kernels.
        found, _ = self.attention(
            queries, placed, tokens, key_padding_mask=padding_mask, need_weights=False
        )
        return self.ffn_norm(self.ffn(self.attention_norm(queries + self.dropout(found))))

    def attention_weights(
        self, tokens: Tensor, positions: Tensor, padding_mask: Tensor, query: int
    ) -> Tensor:
        """How much one token reads from each, mean over heads.

        Args:
            tokens: As of :meth:`forward`.
            positions: As of :meth:`forward`.
            padding_mask: As of :meth:`forward`.
            query: The token that reads.

        Returns:
            Weights that sum to one. Shape (T, S).
        """
        placed = tokens + positions
        queries = placed[:, query : query + 1]
        return self.attention(queries, placed, tokens, key_padding_mask=padding_mask)[1][:, 0]


@MODELS.register_module()
class VisionLanguageEncoder(BaseModule):
    """Visual-language transformer encoder: the points of an image and the tokens of a text read
    from each other.

    Eq. 5 of `Rethinking Two-Stage Referring Expression Comprehension
    <https://github.com/VILAN-Lab/PBREC-MT>`_ (PBREC), with what the paper does not
    mention as the official code has it: points and tokens stand in one sequence, which is
    normalised first; points have a sine code of their place on the image (the padding is
    not counted), tokens one of their place in the text; padding of either is never read; and
    one LayerNorm is applied to the output of each layer that is asked for.

    Matrices are drawn by Xavier's uniform initialisation.

    Args:
        channels: Channels C of points and tokens.
        num_layers: Layers.
        num_heads: Heads of the attention.
        feedforward_channels: Width of the FFN of each layer.
        dropout: Dropout rate.
        init_cfg: Initialisation instead of the one above.
    """

    def __init__(
        self,
        channels: int = 256,
        num_layers: int = 6,
        num_heads: int = 8,
        feedforward_channels: int = 1024,
        dropout: float = 0.1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.point_code = SinePositionalEncoding(channels // 2, normalize=True, offset=-0.5)
        self.input_norm = nn.LayerNorm(channels)
        self.layers = ModuleList(
            VisionLanguageLayer(channels, num_heads, feedforward_channels, dropout)
            for _ in range(num_layers)
        )
        self.output_norm = nn.LayerNorm(channels)

    def forward(
        self,
        points: Tensor,
        valid: Tensor,
        tokens: Tensor,
        is_token: Tensor,
        image_index: Tensor,
        all_layers: bool = False,
        return_attention: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Encode T pairs of an image and a text.

        Args:
            points: Projected maps of the B images. Shape (B, C, h, w).
            valid: True on the image, False on the padding. Shape (B, h, w).
            tokens: Projected tokens of the texts, [CLS] first. Shape (T, L, C).
            is_token: False at padding. Shape (T, L).
            image_index: The image of each text. Shape (T, ).
            all_layers: Whether the output of each layer is returned, or of the last only.
            return_attention: Whether the attention of the last layer is returned.

        Returns:
            - The n = h w points after each layer, row-major. Shape (layers, T, n, C), or
              (1, T, n, C).
            - How much [CLS] reads from each point in the last layer, mean over heads, (T, n); it
              sums to one together with what it reads from the tokens. None unless asked for.
        """
        num_points = points.shape[-2] * points.shape[-1]
        # Under autocast matrices are multiplied in half precision, but what layers add up stays in
        # float32: half of it would drop what a few tokens change at a point.
        points, tokens = points.float(), tokens.float()
        codes = self.point_code((~valid).to(torch.uint8)).float()
        # The images' part is computed once per image, however many texts it has.
        points, codes = (maps.flatten(2).transpose(1, 2)[image_index] for maps in (points, codes))
        text_codes = sequence_position_code(tokens.shape[1], tokens.shape[2], tokens.device)
        text_codes = text_codes.expand(len(tokens), -1, -1)
        positions = torch.cat((codes, text_codes), 1)
        padding_mask = ~torch.cat((valid.flatten(1)[image_index], is_token), 1)

        states, attention = [], None
        sequence = self.input_norm(torch.cat((points, tokens), 1))
        for number, layer in enumerate(self.layers, 1):
            last = number == len(self.layers)
            if last and return_attention:
                attention = layer.attention_weights(sequence, positions, padding_mask, num_points)
                attention = attention[:, :num_points]
            # Nothing reads the tokens of the last layer.
            num_queries = num_points if last else sequence.shape[1]
            sequence = layer(sequence, positions, padding_mask, num_queries)
            if all_layers or last:
                states.append(self.output_norm(sequence[:, :num_points]))
        return torch.stack(states), attention
