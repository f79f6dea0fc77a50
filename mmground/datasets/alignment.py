"""Where the utterances of a narrative stand in its caption.

The panoptic narrative grounding benchmark gives a caption as it was written and, beside
it, a list of utterances that together make up the caption, lower-cased and with other
spaces. A phrase is an utterance, so its place in the caption has to be found.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import accumulate

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

Span = tuple[int, int]

_STRAIGHT_QUOTES = str.maketrans('‘’“”', '\'\'""')  # noqa: RUF001


def align_utterances(
    caption: str, utterances: Sequence[str], wanted: Sequence[int]
) -> list[Span | None]:
    """Find utterances in the caption that they are the consecutive parts of.

    Case, white space and the form of quotation marks are ignored. Where the utterances
    do not add up to the caption, both are aligned by their longest common parts, and an
    utterance is found if the whole of it is in one such part.

    Args:
        caption: The caption.
        utterances: All its parts, in order.
        wanted: Indices of the utterances to find.

    Returns:
        Per wanted utterance its character range ``(start, end)`` in the caption, without
        surrounding white space, or None if it is empty or was not found.

    Example:
        >>> align_utterances('Two  Dogs run.', ['two', 'dogs', 'run', '.'], [1])
        [(5, 9)]
    """
    caption = _fold(caption)
    letters = ''.join(caption.split())
    places = [i for i, letter in enumerate(caption) if not letter.isspace()]
    parts = [''.join(_fold(utterance).split()) for utterance in utterances]
    ends = list(accumulate(map(len, parts)))
    blocks = _matching_blocks(''.join(parts), letters)

    spans = []
    for i in wanted:
        start, end = ends[i] - len(parts[i]), ends[i]
        shift = next((b - a for a, b, size in blocks if a <= start and end <= a + size), None)
        if shift is None or start == end:
            spans.append(None)
        else:
            spans.append((places[start + shift], places[end + shift - 1] + 1))
    return spans


def _fold(text: str) -> str:
    """Lower case and straight quotes, character by character: offsets stay valid."""
    lower = text.lower()
    if lower.isascii():
        return lower
    if len(lower) != len(text):
        lower = ''.join(c.lower() if len(c.lower()) == 1 else c for c in text)
    return lower.translate(_STRAIGHT_QUOTES)


def _matching_blocks(a: str, b: str) -> list[tuple[int, int, int]]:
    """Common parts ``(start in a, start in b, length)`` of two similar strings, in order."""
    if a == b:
        return [(0, 0, len(a))]
    # What differs is mostly short, and the matcher's time grows with the square of it.
    head = _common_prefix(a, b)
    tail = _common_prefix(a[head:][::-1], b[head:][::-1])
    middle = SequenceMatcher(None, a[head : len(a) - tail], b[head : len(b) - tail], autojunk=False)
    return [
        (0, 0, head),
        *((i + head, j + head, size) for i, j, size in middle.get_matching_blocks() if size),
        (len(a) - tail, len(b) - tail, tail),
    ]


def _common_prefix(a: str, b: str) -> int:
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


class WordPieceAligner:
    """The official preprocessing's way from utterances to word pieces of the caption.

    Caption and utterances are cut into BERT word pieces; the i-th piece of all utterances
    together stands for the i-th piece of the caption, whatever the two are. If their
    numbers differ, the official code discards the narrative. In an utterance with "n't",
    the first of them is two pieces (``'`` and ``t``) and what stands before and after it
    is cut on its own.

    Args:
        vocab_file: The encoder's WordPiece vocabulary, one piece a line, with ``[UNK]``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a WordPiece vocabulary.
    """

    def __init__(self, vocab_file: str):
        try:
            with open(vocab_file, encoding='utf-8') as file:
                vocab = {line.rstrip('\n'): i for i, line in enumerate(file)}
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{vocab_file}: the WordPiece vocabulary does not exist; give the vocab.txt of '
                'the text encoder as vocab_file'
            ) from error
        except UnicodeDecodeError as error:
            raise ValueError(f'{vocab_file}: not a text file ({error})') from error
        if '[UNK]' not in vocab:
            raise ValueError(
                f'{vocab_file}: not a WordPiece vocabulary: there is no line [UNK]; give the '
                'vocab.txt of the text encoder'
            )
        self._tokenizer = Tokenizer(WordPiece(vocab, unk_token='[UNK]'))
        self._tokenizer.normalizer = BertNormalizer(lowercase=True)
        self._tokenizer.pre_tokenizer = BertPreTokenizer()
        # The same few utterances ("in the background", ".") make up much of the data.
        self._lengths: dict[str, int] = {}

    def __call__(
        self, caption: str, utterances: Sequence[str], wanted: Sequence[int]
    ) -> list[Span | None] | None:
        """Find utterances in their caption.

        Args:
            caption: The caption.
            utterances: All its parts, in order.
            wanted: Indices of the utterances to find.

        Returns:
            Per wanted utterance the character range ``(start, end)`` that its pieces
            cover in the caption, or None if it has no piece. None instead of the list if
            the caption and all the utterances differ in their number of pieces.
        """
        offsets = self._tokenizer.encode(caption).offsets
        ends = list(accumulate(self._num_pieces(utterance) for utterance in utterances))
        if (ends[-1] if ends else 0) != len(offsets):
            return None
        spans = []
        for i in wanted:
            start, end = ends[i] - self._num_pieces(utterances[i]), ends[i]
            spans.append((offsets[start][0], offsets[end - 1][1]) if start < end else None)
        return spans

    def _num_pieces(self, utterance: str) -> int:
        length = self._lengths.get(utterance)
        if length is None:
            text = utterance.strip()
            split = text.lower().find("n't")
            if split < 0:
                length = len(self._tokenizer.encode(text).ids)
            else:
                parts = text[:split], text[split + 3 :]
                length = 2 + sum(len(self._tokenizer.encode(part).ids) for part in parts)
            self._lengths[utterance] = length
        return length
