"""Which phrases of a text are to be grounded: bracket mark-up, a list, or noun chunks."""

import re
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache

_TOKEN = re.compile(r'\\[\[\]\\]|\[|\]')


def parse_markup(text: str) -> tuple[str, list[dict]]:
    r"""Read a text in which square brackets mark the phrases.

    ``\[``, ``\]`` and ``\\`` stand for the plain character; any other backslash
    is kept as it is. White space just inside a bracket stays in the text but does
    not belong to the phrase.

    Args:
        text: The text with its mark-up.

    Returns:
        The text without mark-up, and its phrases in order, possibly none. A phrase
        is a dict as in a data set's record: ``text``, ``span`` (start and end
        character in the plain text, end excluded), ``type`` and ``phrase_id``.

    Raises:
        ValueError: If a bracket has no partner, brackets are nested, or nothing
            stands between them. Positions in the message count characters from 0.

    Example:
        >>> plain, phrases = parse_markup('A [man] throws [a red frisbee].')
        >>> plain
        'A man throws a red frisbee.'
        >>> [(phrase['text'], phrase['span']) for phrase in phrases]
        [('man', (2, 5)), ('a red frisbee', (13, 26))]
    """
    plain, spans = '', []
    cursor, opened_at, start = 0, None, 0
    for match in _TOKEN.finditer(text):
        plain += text[cursor : match.start()]
        cursor = match.end()
        token = match.group()
        if token.startswith('\\'):
            plain += token[1]
        elif token == '[':
            if opened_at is not None:
                raise _markup_error(
                    text, match.start(), f"'[' inside the phrase opened at position {opened_at}"
                )
            opened_at, start = match.start(), len(plain)
        else:
            if opened_at is None:
                raise _markup_error(text, match.start(), "']' without a '[' before it")
            inner = plain[start:]
            if not inner.strip():
                raise _markup_error(text, opened_at, 'the brackets are empty')
            left = start + len(inner) - len(inner.lstrip())
            spans.append((left, left + len(inner.strip())))
            opened_at = None
    if opened_at is not None:
        raise _markup_error(text, opened_at, "'[' is never closed")
    plain += text[cursor:]
    return plain, _phrase_records(plain, spans)


def format_markup(text: str, spans: Iterable[tuple[int, int]]) -> str | None:
    r"""Put phrases in square brackets: the inverse of :func:`parse_markup`.

    Args:
        text: The plain text.
        spans: Character range of each phrase, in any order; a repeated one counts once.

    Returns:
        The text with ``[`` and ``]`` around each phrase, and with its own brackets and
        backslashes escaped by ``\``; None if phrases overlap, which brackets cannot say.

    Example:
        >>> format_markup('A man on grass', [(9, 14), (2, 5)])
        'A [man] on [grass]'
    """

    def escape(part: str) -> str:
        return re.sub(r'([\[\]\\])', r'\\\1', part)

    marked, cursor = '', 0
    for start, end in sorted(set(map(tuple, spans))):
        if start < cursor:
            return None
        marked += f'{escape(text[cursor:start])}[{escape(text[start:end])}]'
        cursor = end
    return marked + escape(text[cursor:])


def find_phrases(text: str, phrases: Sequence[str]) -> list[dict]:
    """Locate phrases, given as strings, in a text.

    A phrase matches whole words, regardless of case and of the amount of white
    space between its words. It takes the first place, from left to right, that
    no phrase before it in the list has taken: a place of its own if there is one,
    else one inside or across another phrase. So a phrase that is listed twice
    takes its first and its second occurrence.

    Args:
        text: Plain text, without mark-up.
        phrases: The phrases to find.

    Returns:
        One dict per phrase, in the order of ``phrases``, with the keys that
        :func:`parse_markup` describes; ``text`` is the form that stands in the text.

    Raises:
        TypeError: If ``phrases`` is a single string.
        ValueError: If a phrase is empty, or is not in the text (often enough).

    Example:
        >>> [phrase['span'] for phrase in find_phrases('A cat sees a cat.', ['cat', 'a cat'])]
        [(2, 5), (11, 16)]
    """
    if isinstance(phrases, str):
        raise TypeError(f'phrases must be a list of strings, got the string {phrases!r}')
    taken: list[tuple[int, int]] = []
    for phrase in phrases:
        words = phrase.split()
        if not words:
            raise ValueError(f'a phrase to find in {text!r} is empty')
        pattern = r'\s+'.join(map(re.escape, words))
        # A lookahead finds overlapping occurrences too.
        matches = re.finditer(rf'(?<!\w)(?=({pattern})(?!\w))', text, re.IGNORECASE)
        occurrences = [match.span(1) for match in matches]
        free = [span for span in occurrences if span not in taken]
        if not occurrences:
            raise ValueError(
                f'phrase {phrase!r} does not occur (as whole words) in the text {text!r}'
            )
        if not free:
            raise ValueError(
                f'phrase {phrase!r} is listed more often than the {len(occurrences)} time(s) '
                f'that it occurs in the text {text!r}'
            )
        apart = [
            (start, end)
            for start, end in free
            if all(end <= other_start or other_end <= start for other_start, other_end in taken)
        ]
        taken.append((apart or free)[0])
    return _phrase_records(text, taken)


def resolve_phrases(text: str, phrases: Sequence[str] | None = None) -> tuple[str, list[dict]]:
    r"""Decide which phrases of a user's text are grounded.

    Brackets in the text mark phrases; or ``phrases`` lists them; with neither, the
    phrases are the noun chunks that spaCy finds, when spaCy and its English model
    ``en_core_web_sm`` are installed.

    Args:
        text: The text, in which a bracket that is meant literally is escaped
            (``\[``), see :func:`parse_markup`.
        phrases: Phrases to find in the text, see :func:`find_phrases`. To ground
            a whole expression, give the text itself.

    Returns:
        The plain text and at least one phrase.

    Raises:
        ValueError: If both ways are used at once, a phrase is not found, or there
            is no phrase at all.
        ImportError: If spaCy would be needed and is not installed.
    """
    plain, marked = parse_markup(text)
    if phrases is not None:
        if marked:
            raise ValueError(
                f'the text {text!r} marks phrases by brackets and a list of phrases is given as '
                r'well: use one of the two ("\[" is a literal bracket)'
            )
        if len(phrases) == 0:
            raise ValueError(f'the list of phrases for the text {text!r} is empty')
        return plain, find_phrases(plain, phrases)
    if marked:
        return plain, marked
    if not plain.strip():
        raise ValueError('the text is empty: there is no phrase to ground')
    spans = _noun_chunk_spans(plain)
    if not spans:
        raise ValueError(
            f'no noun phrase found in the text {text!r}: mark phrases by brackets, as in '
            '"A [man] throws [a red frisbee]", or list them (phrases=[...])'
        )
    return plain, _phrase_records(plain, spans)


def resolve_expression(text: str, phrases: Sequence[str] | None = None) -> tuple[str, list[dict]]:
    r"""Take a user's text as one referring expression: the whole text is its only phrase.

    Brackets are not needed. They are removed, so that a text marked for another system can be
    given as it is; where they mark less than the whole, a warning says that this has no effect.

    Args:
        text: The expression, in which a bracket that is meant literally is escaped
            (``\[``), see :func:`parse_markup`.
        phrases: None, or a list of the whole text alone.

    Returns:
        The plain text, without white space around it, and its phrase.

    Raises:
        TypeError: If ``phrases`` is a single string.
        ValueError: If the text is empty or not marked correctly, or if ``phrases`` lists anything
            but the text.

    Example:
        >>> resolve_expression('the left dog')[1][0]['span']
        (0, 12)
    """
    plain, marked = parse_markup(text)
    plain = plain.strip()
    if not plain:
        raise ValueError('the text is empty: there is no expression to ground')
    whole = ' '.join(plain.split())
    if isinstance(phrases, str):
        raise TypeError(f'phrases must be a list of strings, got the string {phrases!r}')
    if phrases is not None and [' '.join(phrase.split()) for phrase in phrases] != [whole]:
        raise ValueError(
            f'the system grounds the whole text {plain!r} as one expression, not the phrases '
            f'{list(phrases)} in it: give each expression as a text of its own (a list of texts)'
        )
    if marked and [' '.join(phrase['text'].split()) for phrase in marked] != [whole]:
        warnings.warn(
            f'the system grounds the whole text {plain!r} as one expression: its brackets are '
            'removed. To ground a part of it, give the part as a text of its own',
            stacklevel=2,
        )
    return plain, [dict(text=plain, span=(0, len(plain)), type='', phrase_id='0')]


def _phrase_records(text: str, spans: Sequence[tuple[int, int]]) -> list[dict]:
    return [
        dict(text=text[start:end], span=(start, end), type='phrase', phrase_id=str(index))
        for index, (start, end) in enumerate(spans)
    ]


def _markup_error(text: str, position: int, problem: str) -> ValueError:
    return ValueError(
        f'phrase mark-up: {problem}, at position {position} of {text!r}. Phrases are marked '
        r'as in "A [man] throws [a red frisbee]"; a literal bracket is written "\[" or "\]"'
    )


def _noun_chunk_spans(text: str) -> list[tuple[int, int]]:
    """Character spans of the noun chunks, leaving out bare pronouns ("it", "which")."""
    return [
        (chunk.start_char, chunk.end_char)
        for chunk in _spacy_model()(text).noun_chunks
        if chunk.root.pos_ != 'PRON'
    ]


@lru_cache(maxsize=1)
def _spacy_model():
    two_ways = (
        'Without it, mark the phrases by brackets, as in "A [man] throws [a red frisbee]", or '
        'list them (phrases=[...])'
    )
    try:
        import spacy
    except ImportError as error:
        raise ImportError(
            "finding the phrases of an unmarked text needs spaCy (pip install 'mmground[nlp]' && "
            f'python -m spacy download en_core_web_sm). {two_ways}'
        ) from error
    try:
        return spacy.load('en_core_web_sm')
    except OSError as error:
        raise ImportError(
            "finding the phrases of an unmarked text needs spaCy's English model (python -m "
            f'spacy download en_core_web_sm). {two_ways}'
        ) from error
