import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor
from transformers import BertConfig, BertModel, BertTokenizerFast

from mmground.registry import MODELS
from mmground.structures import TextFeatures


@MODELS.register_module()
class BertEncoder(BaseModule):
    """BERT over whole texts: the last hidden state of every word piece.

    The network is built from explicit sizes and never fetches anything. Its
    weights come from ``init_cfg`` or from a checkpoint, its vocabulary from
    ``vocab_file`` or from a checkpoint: a checkpoint of this module carries the
    vocabulary (as a byte tensor named ``vocab``), so inference needs no other file, and
    a ``vocab_file`` that does not exist is an error only if a text comes before a
    checkpoint.

    The defaults are those of bert-base-uncased.

    Args:
        vocab_file: WordPiece vocabulary, one piece a line. None: the checkpoint
            that is loaded brings it.
        vocab_size: Rows of the embedding table, at least as many as the vocabulary has.
        hidden_size: Width C.
        num_layers: Transformer layers.
        num_heads: Attention heads of each layer.
        intermediate_size: Width of the feed-forward layers.
        dropout: Dropout rate of hidden states and attention, in training mode.
        max_positions: Rows of the position embedding table.
        max_length: Longest input in pieces, [CLS] and [SEP] included; the rest of
            a text is cut off, which is logged once and marked in the features.
        do_lower_case: Whether the vocabulary is of lower-cased text.
        init_cfg: Initialisation, such as ``dict(type='Pretrained', checkpoint=...)``
            with this module's parameter names.
    """

    def __init__(
        self,
        vocab_file: str | None = None,
        vocab_size: int = 30522,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        intermediate_size: int = 3072,
        dropout: float = 0.1,
        max_positions: int = 512,
        max_length: int = 230,
        do_lower_case: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if max_length > max_positions:
            raise ValueError(
                f'max_length ({max_length}) exceeds the {max_positions} positions of the encoder'
            )
        self.max_length = max_length
        self.do_lower_case = do_lower_case
        self.vocab_file = vocab_file
        self.vocab_size = vocab_size
        self.tokenizer = None
        self._told_of_truncation = False
        self.register_buffer('vocab', None)
        if vocab_file is not None and Path(vocab_file).is_file():
            self._set_vocabulary(Path(vocab_file).read_text(encoding='utf-8'), vocab_file)
        self.out_channels = hidden_size
        self.model = BertModel(
            BertConfig(
                vocab_size=vocab_size,
                hidden_size=hidden_size,
                num_hidden_layers=num_layers,
                num_attention_heads=num_heads,
                intermediate_size=intermediate_size,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
                max_position_embeddings=max_positions,
            ),
            add_pooling_layer=False,
        )

    def forward(self, texts: Sequence[str]) -> TextFeatures:
        """Encode texts; a batch is padded to its own longest text.

        Args:
            texts: T texts.

        Returns:
            Features of the pieces with their places in the text, C = hidden_size.
        """
        ids, attention_mask, special, offsets, truncated = self.tokenize(texts)
        hidden = self.encode(ids, attention_mask)
        is_token = attention_mask.bool()
        valid = is_token & ~special.bool()
        return TextFeatures(hidden, valid, offsets * valid[..., None], is_token, truncated)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Split texts into word pieces.

        Args:
            texts: T texts.

        Returns:
            ids, attention mask (1 at pieces and special tokens), special-token mask, each (T, L),
            and character offsets (T, L, 2), all int64; and which texts were cut off, (T, ),
            bool. All on the module's device.

        Raises:
            RuntimeError: If the encoder has no vocabulary.
        """
        if self.tokenizer is None:
            missing = f' (there is no file {self.vocab_file})' if self.vocab_file else ''
            raise RuntimeError(
                f'the text encoder has no vocabulary{missing}: set model.text_encoder.vocab_file '
                'to the vocab.txt of the weights or of the generated data, or load a checkpoint '
                'that carries one'
            )
        pieces = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=self.max_length,
            padding=True,
            return_offsets_mapping=True,
            # "[SEP]" in a text is five characters of it, not a separator.
            split_special_tokens=True,
            return_special_tokens_mask=True,
            return_tensors='pt',
        )
        names = ('input_ids', 'attention_mask', 'special_tokens_mask', 'offset_mapping')
        truncated = [bool(encoding.overflowing) for encoding in pieces.encodings]
        if any(truncated) and not self._told_of_truncation:
            self._told_of_truncation = True
            print_log(
                f'the text {texts[truncated.index(True)]!r} has more than {self.max_length} word '
                'pieces, [CLS] and [SEP] included: the rest is cut off. This is said once; '
                'raise model.text_encoder.max_length to read such texts whole',
                logger='current',
                level=logging.WARNING,
            )
        device = self.model.embeddings.word_embeddings.weight.device
        tensors = [*(pieces[name] for name in names), torch.tensor(truncated)]
        return tuple(tensor.to(device) for tensor in tensors)

    def encode(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Run the transformer.

        Args:
            ids: Word-piece ids. Shape (T, L).
            attention_mask: 1 at pieces, 0 at padding. Shape (T, L).

        Returns:
            The last hidden state. Shape (T, L, C).
        """
        return self.model(input_ids=ids, attention_mask=attention_mask).last_hidden_state

    def _set_vocabulary(self, text: str, source: str) -> None:
        pieces = text.rstrip('\n').split('\n')
        missing = {'[PAD]', '[UNK]', '[CLS]', '[SEP]'} - set(pieces)
        if missing:
            raise ValueError(f'{source} is no WordPiece vocabulary: it lacks {sorted(missing)}')
        if len(pieces) > self.vocab_size:
            raise ValueError(
                f'the vocabulary of {source} has {len(pieces)} pieces but the embedding table '
                f'only {self.vocab_size} rows: set model.text_encoder.vocab_size'
            )
        ids = {piece: index for index, piece in enumerate(pieces)}
        self.tokenizer = BertTokenizerFast(vocab=ids, do_lower_case=self.do_lower_case)
        self.vocab = torch.frombuffer(bytearray('\n'.join(pieces), 'utf-8'), dtype=torch.uint8)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        stored = state_dict.get(prefix + 'vocab')
        if stored is not None:
            # Its length is the checkpoint's, so the buffer is made to fit before the copy.
            self._set_vocabulary(bytes(stored.tolist()).decode(), 'the checkpoint')
            self.vocab = self.vocab.to(self.model.embeddings.word_embeddings.weight.device)
        elif self.vocab is not None:
            # Foreign weights carry no vocabulary; the one of vocab_file stays.
            state_dict = {**state_dict, prefix + 'vocab': self.vocab}
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
