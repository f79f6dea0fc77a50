import logging
from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmground.registry import MODELS
from mmground.structures import TextFeatures

from .word_vocabulary import WordVocabulary, fit_rows

RNNS = {'gru': nn.GRU, 'lstm': nn.LSTM}


def build_rnn(kind: str, in_channels: int, channels: int) -> nn.RNNBase:
    """A recurrent layer, batch first.

    Args:
        kind: ``'gru'`` or ``'lstm'``.
        in_channels: Channels of the inputs.
        channels: Channels of the states.

    Raises:
        ValueError: If there is no such kind.
    """
    if kind not in RNNS:
        raise ValueError(f'rnn must be one of {list(RNNS)}, got {kind!r}')
    return RNNS[kind](in_channels, channels, batch_first=True)


@MODELS.register_module()
class WordRNNEncoder(BaseModule):
    """An embedding of words, and a recurrent network over the words of a text (Eq. 1 of ReIR).

    Words stand between white space and are read in lower case, see :meth:`WordVocabulary.split`.
    One that the vocabulary lacks is read as zeros, which is logged once. The vocabulary comes from
    a file or from a checkpoint, which carries it, and the embedding has a row for each word, so
    that it fits.

    Args:
        vocab_file: Words, see :class:`WordVocabulary`. None: the checkpoint that is loaded brings
            them.
        extra_words: Words behind those of the file, as far as it lacks them, such as the two that
            the official code of ReIR adds.
        embed_channels: Width of the embedding.
        channels: Width C of the states.
        rnn: ``'gru'``, as the official code, or ``'lstm'``, as the paper.
        init_cfg: Initialisation. None is PyTorch's, which is the official code's.

    Raises:
        ValueError: If there is no such ``rnn``.
    """

    def __init__(
        self,
        vocab_file: str | None = None,
        extra_words: Sequence[str] = (),
        embed_channels: int = 1024,
        channels: int = 1024,
        rnn: str = 'gru',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.vocabulary = WordVocabulary(vocab_file, extra_words, 'model.text_encoder.vocab_file')
        self.out_channels = channels
        self.embedding = nn.Embedding(len(self.vocabulary) + 1, embed_channels, padding_idx=0)
        self.rnn = build_rnn(rnn, embed_channels, channels)
        self._told_of_unknown = False

    def forward(self, texts: Sequence[str]) -> TextFeatures:
        """Encode texts; a batch is padded to its own longest text.

        Args:
            texts: T texts.

        Returns:
            The states after each word, and as ``embeddings`` the words without context.
        """
        ids, offsets, valid = self.tokenize(texts)
        embeddings = self.embedding(ids)
        # Padding is behind the words and the network reads forward, so it changes no state.
        states = self.rnn(embeddings)[0]
        truncated = torch.zeros(len(texts), dtype=torch.bool, device=ids.device)
        return TextFeatures(states, valid, offsets, valid, truncated, embeddings=embeddings)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Split texts into words.

        Args:
            texts: T texts.

        Returns:
            Ids (T, L) and character offsets (T, L, 2), int64, and where there are words, (T, L),
            bool. All on the module's device.

        Raises:
            RuntimeError: If the encoder has no vocabulary.
        """
        split = [self.vocabulary.split(text) for text in texts]
        length = max([1, *map(len, split)])
        ids = torch.zeros(len(texts), length, dtype=torch.int64)
        offsets = torch.zeros(len(texts), length, 2, dtype=torch.int64)
        valid = torch.zeros(len(texts), length, dtype=torch.bool)
        for row, words in enumerate(split):
            if not words:
                continue
            count = len(words)
            ids[row, :count] = torch.tensor(self.vocabulary.lookup([word for word, _ in words]))
            offsets[row, :count] = torch.tensor([span for _, span in words])
            valid[row, :count] = True
        unknown = valid & (ids == 0)
        if unknown.any() and not self._told_of_unknown:
            self._told_of_unknown = True
            row, place = unknown.nonzero()[0].tolist()
            print_log(
                f'the word {split[row][place][0]!r} of the text {texts[row]!r} is not in the '
                'vocabulary: such words are read as zeros. This is said once',
                logger='current',
                level=logging.WARNING,
            )
        device = self.embedding.weight.device
        return ids.to(device), offsets.to(device), valid.to(device)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        # The number of words is the checkpoint's, as the vocabulary is.
        if prefix + 'vocabulary.vocab' in state_dict:
            fit_rows(self.embedding.weight, state_dict.get(prefix + 'embedding.weight'))
            self.embedding.num_embeddings = len(self.embedding.weight)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
