from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class TextFeatures:
    """A batch of encoded texts, as every text encoder returns it.

    T texts, padded to the longest of the batch, L pieces (word pieces, byte
    pairs or words, whatever the encoder reads), C channels.

    Args:
        pieces: Contextual feature of each piece. Shape (T, L, C).
        valid: True at pieces of the text; False at special tokens and padding.
            Shape (T, L).
        offsets: Character range ``[start, end)`` of each piece in its text, zero
            where ``valid`` is False. Shape (T, L, 2), int64.
        is_token: True at all that the encoder read, special tokens included; False at
            padding. Shape (T, L).
        truncated: Texts of which the encoder cut something off. Shape (T, ), bool.
        sentence: One feature of each text, where the encoder has such a thing: CLIP's, at
            the end of the text and projected, with channels of its own. Shape (T, D).
        embeddings: Feature of each piece before it has a context, where the encoder has one.
            Shape (T, L, E).
    """

    pieces: Tensor
    valid: Tensor
    offsets: Tensor
    is_token: Tensor
    truncated: Tensor
    sentence: Tensor | None = None
    embeddings: Tensor | None = None

    def sentences(self) -> Tensor:
        """The feature of each text, for heads that read it.

        Returns:
            ``sentence``. Shape (T, D).

        Raises:
            ValueError: If the encoder has none.
        """
        if self.sentence is None:
            raise ValueError(
                'the text encoder gives no feature of whole sentences, which this head reads: use '
                "one that does, such as text_encoder=dict(type='CLIPTextEncoder', ...)"
            )
        return self.sentence

    def phrase_pieces(self, spans: Tensor, text_index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find the pieces of phrases that are given as character spans.

        A piece belongs to a phrase if their character ranges overlap, so phrases
        may overlap each other, and a span need not end at a piece's boundary.

        Args:
            spans: Character range ``[start, end)`` of each phrase in its text.
                Shape (P, 2).
            text_index: The text of each phrase. Shape (P, ).

        Returns:
            - Features of all pieces of all phrases, in the order of the phrases
              and, within a phrase, of the text. Shape (M, C).
            - The phrase of each piece. Shape (M, ), int64, ascending. A phrase
              that the encoder cut off does not occur.
            - The place of each piece in its text, an index of L. Shape (M, ), int64.
        """
        starts, ends = self.offsets[text_index].unbind(-1)
        overlap = (starts < spans[:, 1:]) & (ends > spans[:, :1]) & self.valid[text_index]
        phrase_index, piece_index = torch.nonzero(overlap, as_tuple=True)
        features = self.pieces[text_index[phrase_index], piece_index]
        return features, phrase_index, piece_index
