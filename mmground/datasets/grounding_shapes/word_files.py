"""Files about the words of generated texts: the words, their vectors, the names of classes."""

from pathlib import Path

import numpy as np

from ..word_vectors import WordVectors
from .lexicon import STUFF, THINGS
from .vocab import language_words

WORDS_FILE = 'words.txt'
CLASSES_FILE = 'class_names.txt'
VECTORS_FILE = 'word_vectors.npz'

PUNCTUATION = ('.', ',')

_OWN_PART = 0.5


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

    A word's vector is that of its kind of thing or stuff, if it names one, and a part of its own.
    Words of different kinds are orthogonal: what is not named is not similar at all, rather
    than a little by chance, so that things of other kinds are no candidates.
    """
    kind_of = {
        word: kind
        for kind, names in THINGS.items()
        for forms in names
        for form in forms
        for word in form.split()
    }
    kind_of |= {kind: kind for kind in STUFF}
    kinds = sorted(set(kind_of.values()))
    vectors = np.zeros((len(words), len(words) + len(kinds)), np.float32)
    for number, word in enumerate(words):
        kind = kind_of.get(word)
        vectors[number, number] = 1.0 if kind is None else _OWN_PART
        if kind is not None:
            vectors[number, len(words) + kinds.index(kind)] = 1.0
    return WordVectors(words, vectors)
