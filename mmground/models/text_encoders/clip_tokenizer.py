"""CLIP's byte pairs with their places in the text."""

import re
from difflib import SequenceMatcher
from functools import cache
from typing import NamedTuple

# The tokenizer is imported where it is first needed: with it comes all of mmseg.

# 256 bytes in the middle and at the end of a word, 48,894 merges of them, start and end of a text.
VOCAB_SIZE = 49408
START_ID, END_ID = VOCAB_SIZE - 2, VOCAB_SIZE - 1


class Piece(NamedTuple):
    """A byte pair of a text.

    Args:
        id: Row of the embedding table.
        start: Where it begins in the text, in characters.
        end: Where it ends.
    """

    id: int
    start: int
    end: int


def clip_pieces(text: str) -> list[Piece]:
    """Split a text into CLIP's byte pairs.

    The text is cleaned first, as CLIP does: broken Unicode is mended, HTML entities are resolved,
    white space is collapsed, and all is in lower case. Places are those of the text as it was
    given: a piece of what cleaning put in the place of something else (an entity) has the
    range of all that was replaced.

    The vocabulary comes with mmseg; nothing is read from elsewhere.

    Args:
        text: Any text.

    Returns:
        The pieces in the order of the text, without start and end.

    Example:
        >>> clip_pieces('Two  kids')
        [Piece(id=1237, start=0, end=3), Piece(id=1911, start=5, end=9)]
    """
    tokenizer, clean = _tokenizer()
    cleaned = clean(text)
    lowered = cleaned.lower()
    # A letter may become two in lower case.
    ranges = [
        place
        for letter, place in zip(cleaned, _original_ranges(text, cleaned), strict=True)
        for _ in letter.lower()
    ]
    pieces = []
    for word in tokenizer.pat.finditer(lowered):
        # Places of the word's bytes; a piece is a string with a letter for each of its bytes.
        places = [
            ranges[word.start() + index]
            for index, letter in enumerate(word.group())
            for _ in letter.encode()
        ]
        letters = ''.join(tokenizer.byte_encoder[byte] for byte in word.group().encode())
        start = 0
        for piece in tokenizer.bpe(letters).split(' '):
            end = start + len(piece.removesuffix('</w>'))
            own = places[start:end]
            pieces.append(Piece(tokenizer.encoder[piece], own[0][0], own[-1][1]))
            start = end
    return pieces


@cache
def _tokenizer():
    """mmseg's tokenizer, and the cleaning that comes before it."""
    from mmseg.utils.tokenizer import SimpleTokenizer, basic_clean, whitespace_clean

    return SimpleTokenizer(), lambda text: whitespace_clean(basic_clean(text))


def _original_ranges(text: str, cleaned: str) -> list[tuple[int, int]]:
    """The character range in ``text`` that each character of ``cleaned`` comes from."""
    if cleaned == text:
        return [(index, index + 1) for index in range(len(text))]
    ranges = []
    # All white space is a space in the cleaned text.
    spaced = re.sub(r'\s', ' ', text)
    blocks = SequenceMatcher(None, spaced, cleaned, autojunk=False).get_opcodes()
    for kind, start, end, cleaned_start, cleaned_end in blocks:
        length = cleaned_end - cleaned_start
        if kind == 'equal':
            ranges += [(start + index, start + index + 1) for index in range(length)]
        else:
            # What was only added belongs to the character before it.
            ranges += [(min(start, max(end - 1, 0)), max(end, 1))] * length
    return ranges
