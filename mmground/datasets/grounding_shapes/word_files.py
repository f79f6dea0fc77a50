"""Files about the words of generated texts: the words, their vectors, the names of classes."""

import zlib
from pathlib import Path

import numpy as np

from ..word_vectors import WordVectors
from .lexicon import STUFF, THINGS
from .vocab import language_words

WORDS_FILE = 'words.txt'
CLASSES_FILE = 'class_names.txt'
VECTORS_FILE = 'word_vectors.npz'

PUNCTUATION = ('.', ',')

_DIM = 64
_SYNONYM_NOISE = 0.5


def write_word_files(root: Path) -> None:
    """Write the three files into a data set's folder.

    ``words.txt`` has every word of the texts, ``class_names.txt`` the kinds of things in the order
    of a detector's labels, each a line. ``word_vectors.npz`` (see :class:`WordVectors`) has a
    vector for each word: names of one kind, such as "ball", "circles", are similar, others are not.
    """
    words = [*language_words(), *PUNCTUATION]
    (root / WORDS_FILE).write_text('\n'.join(words) + '\n')
    (root / CLASSES_FILE).write_text('\n'.join(THINGS) + '\n')
    word_vectors(words).save(str(root / VECTORS_FILE))


def word_vectors(words: list[str]) -> WordVectors:
    """Vectors that know synonyms and numbers, such as one learns from texts.

    A word's vector is that of its kind of thing or stuff, if it names one, and noise of its own.
    """
    kind_of = {
        word: kind
        for kind, names in THINGS.items()
        for forms in names
        for form in forms
        for word in form.split()
    }
    kind_of |= {kind: kind for kind in STUFF}
    vectors = np.empty((len(words), _DIM), np.float32)
    for row, word in zip(vectors, words, strict=True):
        kind = kind_of.get(word)
        row[:] = _noise(f'word {word}')
        if kind is not None:
            row *= _SYNONYM_NOISE
            row += _noise(f'kind {kind}')
    return WordVectors(words, vectors)


def _noise(name: str) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(_DIM) / _DIM**0.5
