"""Vectors of words that were learned elsewhere."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np


class WordVectors:
    """A table of words and their vectors.

    Args:
        words: Different words.
        vectors: Shape (len(words), D), float32.

    Raises:
        ValueError: If a word comes twice, or the numbers differ.

    Example:
        >>> table = WordVectors(['dog', 'cat'], np.eye(2, dtype=np.float32))
        >>> table.of(['cat', 'unicorn'])[1]
        array([ True, False])
    """

    def __init__(self, words: Sequence[str], vectors: np.ndarray) -> None:
        if vectors.ndim != 2 or len(vectors) != len(words):
            raise ValueError(f'{len(words)} words have vectors of shape {vectors.shape}')
        self.words = list(words)
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        self._index = {word: index for index, word in enumerate(self.words)}
        if len(self._index) < len(self.words):
            twice = next(word for i, word in enumerate(self.words) if self._index[word] != i)
            raise ValueError(f'the word {twice!r} has two vectors')

    @classmethod
    def load(cls, path: str) -> 'WordVectors':
        """Read a file that :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is another file.
        """
        remedy = 'write it with tools/dataset_converters/convert_word_vectors.py'
        try:
            with np.load(path, allow_pickle=False) as content:
                words = content['words'].tobytes().decode('utf-8').split('\n')
                vectors = content['vectors']
            return cls(words, vectors)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{path}: the vectors of words do not exist; {remedy}'
            ) from error
        except Exception as error:
            # NumPy raises whatever it likes for files that are none of its own.
            problem = f'{path}: the file holds no vectors of words ({error}); {remedy}'
            raise ValueError(problem) from error

    def save(self, path: str) -> None:
        """Write an ``.npz`` of ``words`` (UTF-8, one a line) and ``vectors``."""
        for word in self.words:
            if '\n' in word:
                raise ValueError(f'the word {word!r} has a line break')
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        text = '\n'.join(self.words).encode('utf-8')
        with open(path, 'wb') as file:
            np.savez(file, words=np.frombuffer(text, np.uint8), vectors=self.vectors)

    def __len__(self) -> int:
        return len(self.words)

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        return self.vectors.shape[1]

    def of(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Look words up.

        A word that the table lacks and that has hyphens gets the mean of its parts, if all of them
        are there.

        Args:
            words: As the table writes them, which mostly is in lower case.

        Returns:
            Vectors, (len(words), D), float32, zeros for unknown words; and which words are known,
            (len(words), ), bool.
        """
        vectors = np.zeros((len(words), self.dim), np.float32)
        known = np.zeros(len(words), bool)
        for row, word in enumerate(words):
            parts = [word] if word in self._index else word.split('-')
            if all(part in self._index for part in parts):
                vectors[row] = self.vectors[[self._index[part] for part in parts]].mean(0)
                known[row] = True
        return vectors, known

    def of_names(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of names of one or several words, such as "fire truck".

        Args:
            names: Names.

        Returns:
            Per name the mean over its known words, (len(names), D), float32; and whether it has a
            known word, (len(names), ), bool.
        """
        vectors = np.zeros((len(names), self.dim), np.float32)
        known = np.zeros(len(names), bool)
        for row, name in enumerate(names):
            found, there = self.of(name_words(name))
            if there.any():
                vectors[row] = found[there].mean(0)
                known[row] = True
        return vectors, known


def name_words(name: str) -> list[str]:
    """The words of a name, in lower case.

    Example:
        >>> name_words('Fire_truck')
        ['fire', 'truck']
    """
    return name.lower().replace('_', ' ').split()


def read_names(path: str) -> list[str]:
    """Names of classes, one a line; of synonyms with commas between them the first.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is blank or there is none.
    """
    try:
        text = Path(path).read_text(encoding='utf-8')
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{path}: the file of names does not exist') from error
    lines = text.removesuffix('\n').split('\n')
    names = [line.split(',')[0].strip() for line in lines]
    if not names or not all(names):
        place = names.index('') + 1 if names else 1
        raise ValueError(f'{path}: line {place} has no name; expected one a line')
    return names


def read_skip_thoughts(
    dictionary: str, table: str, keep: Collection[str] | None = None
) -> WordVectors:
    """Read the table of words of skip-thoughts: ``dictionary.txt`` and ``utable.npy``.

    Args:
        dictionary: Words, one a line, in the order of the table's rows.
        table: Their vectors, (number of words, 620).
        keep: Words to keep; None for all.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the two do not belong together.
    """
    words = [line.strip() for line in _lines(dictionary)]
    try:
        vectors = np.load(table, mmap_mode='r', allow_pickle=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{table}: the table of vectors does not exist') from error
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f'{table}: the file is no array of NumPy ({error})') from error
    if vectors.ndim != 2 or len(vectors) != len(words):
        raise ValueError(
            f'{table} has the shape {vectors.shape}, but {dictionary} has {len(words)} words; take '
            'both files of the same release'
        )
    first: dict[str, int] = {}
    for index, word in enumerate(words):
        if word and (keep is None or word in keep):
            first.setdefault(word, index)
    return _table(first, (vectors[index] for index in first.values()), vectors.shape[1], dictionary)


def read_text_vectors(path: str, keep: Collection[str] | None = None) -> WordVectors:
    """Read vectors in text form: a word and its numbers a line, as of GloVe or fastText.

    A first line of two numbers, as of word2vec, is passed over. Of a word that comes twice, the
    first vector is taken.

    Args:
        path: The file.
        keep: Words to keep; None for all.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not a word and as many numbers as the others have.
    """
    found: dict[str, np.ndarray] = {}
    dim = None
    for number, line in enumerate(_lines(path), start=1):
        fields = line.rstrip().split(' ')
        if number == 1 and len(fields) == 2 and all(field.isdecimal() for field in fields):
            continue
        # A word may have spaces.
        dim = len(fields) - 1 if dim is None else dim
        word = ' '.join(fields[: len(fields) - dim])
        if not word or dim < 1:
            raise ValueError(
                f'{path}: line {number} has {len(fields)} fields; expected a word and {dim} numbers'
            )
        if word in found or (keep is not None and word not in keep):
            continue
        try:
            found[word] = np.array(fields[-dim:], dtype=np.float32)
        except ValueError as error:
            raise ValueError(
                f'{path}: line {number} is not a word and {dim} numbers ({error})'
            ) from error
    return _table(found, found.values(), dim or 0, path)


def _table(words: Iterable[str], vectors: Iterable[np.ndarray], dim: int, path: str) -> WordVectors:
    words = list(words)
    if not words:
        raise ValueError(f'{path}: there is none of the words to keep; check both files')
    matrix = np.empty((len(words), dim), np.float32)
    for row, vector in zip(matrix, vectors, strict=True):
        row[:] = vector
    return WordVectors(words, matrix)


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, encoding='utf-8', newline='\n') as file:
            for line in file:
                yield line.rstrip('\r\n')
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{path}: the file does not exist') from error
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: the file is not UTF-8 text ({error})') from error


def words_to_keep(path: str) -> set[str]:
    """The words of a text or JSON file, as of names, with the parts of those with hyphens.

    See :func:`name_words`: "Fire_truck" is two words. A comma is between words, unless it is one.
    """
    text = ' '.join(_lines(path))
    if path.endswith('.json'):
        text = re.sub(r'[\[\]{}",:]', ' ', text)
    words = set(name_words(text.replace(',', ' ')))
    words |= {token for token in text.split() if not re.search(r'\w', token)}
    return words | {part for word in words for part in word.split('-') if part}
