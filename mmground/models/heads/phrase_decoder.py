from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmground.registry import MODELS

from ..text_encoders.word_rnn_encoder import build_rnn
from ..text_encoders.word_vocabulary import WordVocabulary, fit_rows


@MODELS.register_module()
class PhraseDecoder(BaseModule):
    """Rebuilds a phrase from what was seen (Eq. 13 of ReIR).

    A recurrent network reads the visual feature, as if it were the first word, and then the words
    of the phrase; before each word, and at the end, it tells which one comes. Words to be
    told have a vocabulary of their own, which a checkpoint carries; id 0 is the end.

    Args:
        channels: C, of the visual feature, the words and the states.
        vocab_file: Words that occur in phrases, see :class:`WordVocabulary`.
        rnn: ``'gru'``, as the official code, or ``'lstm'``, as the paper.
    """

    def __init__(
        self, channels: int = 1024, vocab_file: str | None = None, rnn: str = 'gru'
    ) -> None:
        super().__init__()
        self.vocabulary = WordVocabulary(vocab_file, setting='model.head.decoder.vocab_file')
        self.rnn = build_rnn(rnn, channels, channels)
        self.classifier = nn.Linear(channels, len(self.vocabulary) + 1)

    def forward(self, visual: Tensor, words: Tensor) -> Tensor:
        """Tell the words.

        Args:
            visual: What each phrase attends to. Shape (P, C).
            words: Embeddings of the words of each phrase, padded behind. Shape (P, L, C).

        Returns:
            Logits of the L words and the end. Shape (P, L + 1, V).
        """
        inputs = torch.cat((visual[:, None], words.to(visual)), dim=1)
        return self.classifier(self.rnn(inputs)[0])

    def targets(self, phrases: Sequence[Sequence[str]], device) -> tuple[Tensor, Tensor]:
        """Ids of the words to be told.

        Args:
            phrases: The words of each of P phrases.
            device: Where the tensors go.

        Returns:
            Ids, (P, L + 1), int64, the end included; and which of them count, (P, L + 1), bool: not
            the padding, nor a word that is not in the vocabulary.

        Raises:
            RuntimeError: If there is no vocabulary.
        """
        length = max(map(len, phrases), default=0)
        ids = torch.zeros(len(phrases), length + 1, dtype=torch.int64)
        mask = torch.zeros(len(phrases), length + 1, dtype=torch.bool)
        for row, words in enumerate(phrases):
            known = torch.tensor([*self.vocabulary.lookup(words), 0])
            ids[row, : len(known)] = known
            mask[row, : len(known)] = known > 0
            mask[row, len(words)] = True
        return ids.to(device), mask.to(device)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        # The number of words is the checkpoint's, as the vocabulary is.
        if prefix + 'vocabulary.vocab' in state_dict:
            for name in ('weight', 'bias'):
                fit_rows(
                    getattr(self.classifier, name), state_dict.get(f'{prefix}classifier.{name}')
                )
            self.classifier.out_features = len(self.classifier.weight)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
