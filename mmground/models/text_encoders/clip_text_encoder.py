import logging
from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmground.registry import MODELS
from mmground.structures import TextFeatures

from .clip_tokenizer import END_ID, START_ID, VOCAB_SIZE, clip_pieces


@MODELS.register_module()
class CLIPTextEncoder(BaseModule):
    """CLIP's text transformer: a feature of every byte pair and one of the text.

    `Learning Transferable Visual Models From Natural Language Supervision
    <https://arxiv.org/abs/2103.00020>`_, section 2.4. Attention is causal, so a piece sees only
    what comes before it, and padding behind the end changes nothing. Parameters have OpenAI's
    names; weights come from ``init_cfg`` or a checkpoint, see ``tools/model_converters/convert.py
    clip``. Without, they are drawn as for CLIP's own training. The vocabulary is a part of mmseg:
    it needs no file and nothing is fetched.

    The defaults are those of the text encoder beside CLIP's ResNet-101, at JMCELN's length, 30, of
    which start and end are taken to be a part.

    Args:
        hidden_size: Width C.
        num_layers: Transformer layers.
        num_heads: Attention heads of each layer.
        embed_dim: Channels D of the feature of a text. CLIP has 512 with its ResNet-101, 1024
            with its ResNet-50.
        max_length: Longest input in pieces, start and end included; the rest of a text is
            cut off, which is logged once and marked in the features.
        max_positions: Rows of the position embedding table. Those behind ``max_length`` are
            kept as they stand in the checkpoint and get no gradient.
        init_cfg: Initialisation, such as ``dict(type='Pretrained', checkpoint=...)``.

    Attributes:
        out_channels: C.
        sentence_channels: D.

    Raises:
        ValueError: If ``max_length`` is below 2 or exceeds the positions.
    """

    def __init__(
        self,
        hidden_size: int = 512,
        num_layers: int = 12,
        num_heads: int = 8,
        embed_dim: int = 512,
        max_length: int = 30,
        max_positions: int = 77,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not 2 <= max_length <= max_positions:
            raise ValueError(
                f'max_length ({max_length}) must be 2, for start and end, to '
                f'{max_positions}, the positions of the encoder'
            )
        self.max_length = max_length
        self.out_channels = hidden_size
        self.sentence_channels = embed_dim
        self._told_of_truncation = False
        self.token_embedding = nn.Embedding(VOCAB_SIZE, hidden_size)
        self.positional_embedding = nn.Parameter(torch.empty(max_positions, hidden_size))
        self.transformer = CLIPTransformer(hidden_size, num_layers, num_heads)
        self.ln_final = nn.LayerNorm(hidden_size)
        self.text_projection = nn.Parameter(torch.empty(hidden_size, embed_dim))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=hidden_size**-0.5)

    def forward(self, texts: Sequence[str]) -> TextFeatures:
        """Encode texts; a batch is padded to its own longest text.

        Args:
            texts: T texts.

        Returns:
            Features of the pieces with their places in the text, normalised but not projected,
            and in ``sentence`` the texts' projected features.
        """
        ids, lengths, offsets, truncated = self.tokenize(texts)
        pieces, sentence = self.encode(ids, lengths)
        places = torch.arange(ids.shape[1], device=ids.device)
        is_token = places < lengths[:, None]
        valid = (places > 0) & (places < lengths[:, None] - 1)
        return TextFeatures(pieces, valid, offsets, is_token, truncated, sentence)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Split texts into byte pairs.

        Args:
            texts: T texts.

        Returns:
            ids, with 0 behind the end (which is also the id of a piece), (T, L); lengths, start
            and end included, (T, ); character offsets, zero at start, end and padding,
            (T, L, 2), all int64; and which texts were cut off, (T, ), bool. All on the module's
            device.
        """
        found = [clip_pieces(text) for text in texts]
        most = self.max_length - 2
        truncated = [len(pieces) > most for pieces in found]
        if any(truncated) and not self._told_of_truncation:
            self._told_of_truncation = True
            print_log(
                f'the text {texts[truncated.index(True)]!r} has more than {self.max_length} '
                'pieces, start and end included: the rest is cut off. This is said once; raise '
                'model.text_encoder.max_length to read such texts whole',
                logger='current',
                level=logging.WARNING,
            )
        rows = [[(START_ID, 0, 0), *pieces[:most], (END_ID, 0, 0)] for pieces in found]
        longest = max(map(len, rows))
        padded = [row + [(0, 0, 0)] * (longest - len(row)) for row in rows]
        device = self.positional_embedding.device
        table = torch.tensor(padded, device=device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        return table[..., 0], lengths, table[..., 1:], torch.tensor(truncated, device=device)

    def encode(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Run the transformer.

        Args:
            ids: Ids of the pieces, L of them at most ``max_positions``. Shape (T, L).
            lengths: Number of pieces of each text, start and end included. Shape (T, ).

        Returns:
            The pieces' features behind the last normalisation, (T, L, C), and the projected
            feature of each text's last piece, the end, (T, D).
        """
        hidden = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        pieces = self.ln_final(self.transformer(hidden))
        ends = pieces[torch.arange(len(ids), device=ids.device), lengths - 1]
        return pieces, ends @ self.text_projection


class CLIPTransformer(nn.Module):
    """Layers of causal attention and perceptrons, each behind a normalisation.

    Args:
        channels: Width C.
        num_layers: Number of layers.
        num_heads: Attention heads of each.
    """

    def __init__(self, channels: int, num_layers: int, num_heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(
            CLIPTransformerLayer(channels, num_heads) for _ in range(num_layers)
        )
        std = channels**-0.5
        for layer in self.resblocks:
            nn.init.normal_(layer.attn.in_proj_weight, std=std)
            nn.init.normal_(layer.mlp.c_fc.weight, std=(2 * channels) ** -0.5)
            for proj in (layer.attn.out_proj, layer.mlp.c_proj):
                # Each layer adds to the residual stream twice.
                nn.init.normal_(proj.weight, std=std * (2 * num_layers) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(T, L, C) to the same shape."""
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        for layer in self.resblocks:
            x = layer(x, mask)
        return x


class CLIPTransformerLayer(nn.Module):
    """Causal attention and a perceptron with the activation x sigmoid(1.702 x) (QuickGELU).

    Args:
        channels: Width C.
        num_heads: Attention heads.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(channels)
        self.attn = nn.MultiheadAttention(channels, num_heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(channels)
        self.mlp = nn.Module()
        self.mlp.c_fc = nn.Linear(channels, 4 * channels)
        self.mlp.c_proj = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(T, L, C) to the same shape, with the causal mask (L, L) to add to the scores."""
        normed = self.ln_1(x)
        context, _ = self.attn(
            normed, normed, normed, need_weights=False, attn_mask=mask, is_causal=True
        )
        x = x + context
        hidden = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(hidden * torch.sigmoid(1.702 * hidden))
