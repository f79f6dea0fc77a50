import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn


def split_words(text: str) -> list[tuple[str, tuple[int, int]]]:
    """The words of a text between white space, in lower case, with their character ranges.

    Example:
        >>> split_words('A  Man')
        [('a', (0, 1)), ('man', (3, 6))]
    """
    return [(match.group().lower(), match.span()) for match in re.finditer(r'\S+', text)]


class WordVocabulary(nn.Module):
    """A numbered list of words, which checkpoints carry.

    Ids count from 1; 0 is the padding. The words stand in the state dict as a byte tensor
    ``vocab``.

    Args:
        file: Words, one a line, or a ``.json`` list. None, or a file that does not exist: the
            checkpoint that is loaded brings them, and it is an error if a word comes before.
        extra_words: Words behind those of the file, as far as it lacks them.
        setting: Where ``file`` is set, for errors.

    Raises:
        ValueError: If the file holds something else, or a word twice.
    """

    def __init__(
        self, file: str | None, extra_words: Sequence[str] = (), setting: str = 'vocab_file'
    ) -> None:
        super().__init__()
        self.file = file
        self.setting = setting
        self.ids: dict[str, int] | None = None
        self.register_buffer('vocab', None)
        if file is not None and Path(file).is_file():
            words = _read_words(file)
            self._set([*words, *(word for word in extra_words if word not in words)], file)

    def __len__(self) -> int:
        """Number of words; 0 if they are unknown as yet."""
        return len(self.ids or ())

    def lookup(self, words: Sequence[str]) -> list[int]:
        """Ids of words, 0 for an unknown one.

        Raises:
            RuntimeError: If there is no vocabulary.
        """
        if self.ids is None:
            missing = f' (there is no file {self.file})' if self.file else ''
            raise RuntimeError(
                f'the model has no vocabulary{missing}: set {self.setting} to the list of words '
                'of the training set, or load a checkpoint that carries one'
            )
        return [self.ids.get(word, 0) for word in words]

    def split(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        """The words of a text, in lower case, with their character ranges.

        They stand between white space, as in captions whose punctuation is set apart. In other
        texts a word that is not in the vocabulary, "frisbee." or "(red", is parted from the
        punctuation around it.
        """
        found = []
        for word, (start, _) in split_words(text):
            # From the first letter or digit to the last.
            core = None if word in (self.ids or ()) else re.search(r'\w(.*\w)?', word)
            left, right = core.span() if core else (0, len(word))
            for first, last in ((0, left), (left, right), (right, len(word))):
                if first < last:
                    found.append((word[first:last], (start + first, start + last)))
        return found

    def _set(self, words: Sequence[str], source: str) -> None:
        ids = {word: index for index, word in enumerate(words, start=1)}
        if len(ids) < len(words):
            twice = next(word for i, word in enumerate(words, 1) if ids[word] != i)
            raise ValueError(f'{source} has the word {twice!r} twice: each has one id')
        self.ids = ids
        self.vocab = torch.frombuffer(bytearray('\n'.join(words), 'utf-8'), dtype=torch.uint8)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        stored = state_dict.get(prefix + 'vocab')
        if stored is not None:
            own, device = self.ids, stored.device if self.vocab is None else self.vocab.device
            # Its length is the checkpoint's, so the buffer is made to fit before the copy.
            self._set(bytes(stored.tolist()).decode().split('\n'), 'the checkpoint')
            self.vocab = self.vocab.to(device)
            if own is not None and own != self.ids:
                print_log(
                    f'the {len(own)} words of {self.setting} ({self.file}) give way to the '
                    f'{len(self)} of the checkpoint, which its weights belong to; words that it '
                    'lacks are unknown',
                    logger='current',
                    level=logging.WARNING,
                )
        elif self.vocab is not None:
            # Foreign weights carry no vocabulary; the own one stays.
            state_dict = {**state_dict, prefix + 'vocab': self.vocab}
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def fit_rows(weight: Tensor, stored: Tensor | None) -> None:
    """Give a parameter, in place, as many rows as the one that is about to be loaded has.

    It is marked as ``refitted`` if that changes it, for :class:`.BroadcastBuffersHook`.
    """
    if stored is None or stored.shape[1:] != weight.shape[1:] or stored.shape == weight.shape:
        return
    weight.data = weight.data.new_empty(stored.shape)
    weight.refitted = True


def _read_words(file: str) -> list[str]:
    text = Path(file).read_text(encoding='utf-8')
    words = text.split('\n')[: -1 if text.endswith('\n') else None]
    if file.endswith('.json'):
        try:
            words = json.loads(text)
        except ValueError as error:
            raise ValueError(f'{file} is no JSON: {error}') from error
    if not isinstance(words, list) or not words:
        raise ValueError(f'{file} is no list of words')
    for word in words:
        if not isinstance(word, str) or not word or word != ''.join(word.split()):
            raise ValueError(
                f'{file} is no list of words, one a line or in a JSON list: {word!r} is none'
            )
    return words
