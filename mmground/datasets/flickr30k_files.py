"""The files of Flickr30k Entities, as they are released.

``Sentences/<image>.txt`` has a caption a line, with its phrases in brackets,
``[/EN#<chain>/<type>/... <words>]``. ``Annotations/<image>.xml`` has the boxes of the chains. A
chain is what several phrases about an image refer to; that of number 0 is nothing that could be
seen. Lists of a split have an image a line.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

from .malformed import malformed

FOLDERS = dict(img_path='flickr30k-images', sentences='Sentences', boxes='Annotations')
"""Where images, captions and boxes are, below the data's folder."""

NOT_VISUAL = '0'
"""The chain of phrases that refer to nothing that could be seen."""

CAPTIONS_PER_IMAGE = 5

KEEP = ('boxed', 'visual', 'all')
"""Which phrases can be kept, see :func:`is_kept`."""

PUBLISHED_IMAGES = dict(train=29783, val=1000, test=1000)
"""Images of the splits."""

_PHRASE = re.compile(r'\[/EN#(\d+)((?:/[^\s/\[\]]+)+)\s+([^\[\]]*)\]')

Box = tuple[float, float, float, float]


@dataclass(slots=True)
class MarkedPhrase:
    """A phrase of a caption.

    Attributes:
        text: Its words, with single spaces.
        span: Its characters ``(start, end)`` in the caption.
        chain: What it refers to; :data:`NOT_VISUAL` for nothing.
        types: At least one, such as ``'people'``.
    """

    text: str
    span: tuple[int, int]
    chain: str
    types: tuple[str, ...]


@dataclass(slots=True)
class MarkedCaption:
    """A caption without its mark-up, words with single spaces between them, and its phrases."""

    text: str
    phrases: list[MarkedPhrase]


@dataclass(slots=True)
class ChainBoxes:
    """What ``Annotations/<image>.xml`` says.

    Attributes:
        height: Of the image in pixels.
        width: Of the image in pixels.
        boxes: Chain -> boxes, (x1, y1, x2, y2), in the order of the file.
        no_box: Chains that could not be boxed.
        scene: Chains that are the scene at large.
        source: Of generated data, what made them.
    """

    height: int
    width: int
    boxes: dict[str, list[Box]] = field(default_factory=dict)
    no_box: set[str] = field(default_factory=set)
    scene: set[str] = field(default_factory=set)
    source: str = ''

    def drop_empty_boxes(self) -> int:
        """Forget boxes without area, and chains that have no other.

        Returns:
            How many there were.
        """
        dropped = 0
        for chain, boxes in list(self.boxes.items()):
            own = [box for box in boxes if box[0] < box[2] and box[1] < box[3]]
            dropped += len(boxes) - len(own)
            self.boxes[chain] = own
            if not own:
                del self.boxes[chain]
        return dropped


def parse_caption(line: str) -> MarkedCaption:
    """Read a caption's mark-up.

    Args:
        line: A line of a file of sentences.

    Raises:
        ValueError: If a bracket is not closed, brackets are nested, or one has no chain, type or
            words.

    Example:
        >>> parse_caption('[/EN#1/people Two men] run .').phrases[0].span
        (0, 7)
    """
    words: list[str] = []
    marked: list[tuple[int, int, re.Match]] = []
    place = 0
    for match in _PHRASE.finditer(line):
        words += _plain_words(line[place : match.start()])
        own = match[3].split()
        if not own:
            raise ValueError(f'{match[0]!r} has no words')
        marked.append((len(words), len(words) + len(own), match))
        words += own
        place = match.end()
    words += _plain_words(line[place:])
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word) + 1)
    text = ' '.join(words)
    phrases = []
    for first, last, match in marked:
        span = (starts[first], starts[last] - 1)
        phrases.append(MarkedPhrase(text[slice(*span)], span, match[1], _types(match[2])))
    return MarkedCaption(text, phrases)


def _plain_words(text: str) -> list[str]:
    """The words between phrases, of which none may have a part of the mark-up."""
    start = text.find('/EN#')
    if start >= 0:
        raise ValueError(
            f'{text[max(start - 1, 0) :][:60]!r} is no phrase: expected '
            '[/EN#<number>/<type> <words>]'
        )
    return text.split()


def _types(text: str) -> tuple[str, ...]:
    return tuple(text[1:].split('/'))


def read_captions(path: str) -> list[MarkedCaption]:
    """Read ``Sentences/<image>.txt``.

    Args:
        path: The file, on this machine.

    Returns:
        A caption per line. Blank lines at the end are none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no text, or a line has malformed mark-up.
    """
    text = _read_text(path, 'the file of sentences').rstrip()
    captions = []
    # Lines end with a line feed alone: a caption may hold what Unicode calls a separator of lines.
    for number, line in enumerate(text.split('\n') if text else (), start=1):
        try:
            captions.append(parse_caption(line))
        except ValueError as error:
            malformed(path, f'line {number}', error)
    return captions


def read_boxes(path: str) -> ChainBoxes:
    """Read ``Annotations/<image>.xml``.

    An object may have several names: its box is one of each of these chains. Coordinates count
    from 1 in the file; 1 is subtracted from each, as the official reader does.

    Args:
        path: The file, on this machine.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not valid XML or lacks something.
    """
    text = _read_text(path, 'the file of boxes')
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(
            f'{path}: the file of boxes is not valid XML ({error}); it is truncated or another '
            'file: download it again'
        ) from error
    try:
        found = ChainBoxes(*(_number(root, f'size/{side}') for side in ('height', 'width')))
    except ValueError as error:
        malformed(path, 'the image', error)
    found.source = (root.findtext('source') or '').strip()
    for index, entry in enumerate(root.findall('object')):
        try:
            _add_object(entry, found)
        except ValueError as error:
            malformed(path, f'object {index}', error)
    return found


def _add_object(entry: ElementTree.Element, found: ChainBoxes) -> None:
    chains = [(name.text or '').strip() for name in entry.findall('name')]
    if not chains or not all(chains):
        raise ValueError('it has no name')
    if entry.find('bndbox') is not None:
        sides = (_number(entry, f'bndbox/{side}') for side in ('xmin', 'ymin', 'xmax', 'ymax'))
        box = tuple(float(side - 1) for side in sides)
        for chain in chains:
            found.boxes.setdefault(chain, []).append(box)
        return
    flags = {
        flag: entry.find(flag) is not None and _number(entry, flag) > 0
        for flag in ('nobndbox', 'scene')
    }
    if not any(flags.values()):
        raise ValueError('it has neither a box nor one of the flags nobndbox and scene')
    if flags['nobndbox']:
        found.no_box.update(chains)
    if flags['scene']:
        found.scene.update(chains)


def _number(parent: ElementTree.Element, path: str) -> int:
    text = parent.findtext(path)
    if text is None:
        raise ValueError(f'there is no {path}')
    try:
        return int(text)
    except ValueError:
        raise ValueError(f'{path} is {text!r}, which is no whole number') from None


def read_split(path: str) -> list[tuple[str, int | None]]:
    """Read the list of a split.

    Args:
        path: A text file with an image a line, as released; or, as ReIR's official code has it,
            with an image and the number of one of its captions, from 0, a line.

    Returns:
        Pairs of an image and the number of a caption, None for all of its captions.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is neither, or comes twice.
    """
    entries: dict[tuple[str, int | None], int] = {}
    for number, line in enumerate(_read_text(path, 'the list of images').split('\n'), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) > 2 or not all(field.isdecimal() for field in fields[1:]):
            raise ValueError(
                f'{path}: line {number} is {line!r}; expected the name of an image, and perhaps '
                'the number of one of its captions'
            )
        entry = (fields[0], int(fields[1]) if len(fields) == 2 else None)
        if entry in entries:
            raise ValueError(
                f'{path}: line {number} repeats line {entries[entry]}, {line!r}; remove one'
            )
        entries[entry] = number
    return list(entries)


def numbers_by_image(
    entries: Iterable[tuple[str, int | None]],
) -> dict[str, list[int] | None]:
    """Which captions of each image a list names.

    Args:
        entries: Of :func:`read_split`.

    Returns:
        Image -> numbers of its captions, None for all of them.
    """
    wanted: dict[str, list[int] | None] = {}
    for img_id, number in entries:
        if number is None:
            wanted[img_id] = None
        elif wanted.setdefault(img_id, []) is not None:
            wanted[img_id].append(number)
    return wanted


def chosen_captions(
    numbers: list[int] | None, captions: Sequence[MarkedCaption], img_id: str, ann_file: str
) -> Sequence[int]:
    """Numbers of the captions of an image that a list names.

    Args:
        numbers: Of :func:`numbers_by_image`.
        captions: All of the image.
        img_id: Its name, for errors.
        ann_file: The list, for errors.

    Raises:
        ValueError: If the image has no caption of a number.
    """
    numbers = range(len(captions)) if numbers is None else numbers
    for number in numbers:
        if number >= len(captions):
            raise ValueError(
                f'{ann_file} lists caption {number} of image {img_id}, but its file of sentences '
                f'has {len(captions)}; captions count from 0'
            )
    return numbers


def is_kept(chain: str, keep: str, annotated: ChainBoxes | None = None) -> bool:
    """Whether a phrase is kept.

    Args:
        chain: What it refers to.
        keep: ``'boxed'``, if it has a box; ``'visual'``, if it refers to something that can be
            seen, such as the scene; ``'all'``, always.
        annotated: What the image's file of boxes says, without empty boxes; read with ``'boxed'``
            only.
    """
    if keep == 'all':
        return True
    return chain != NOT_VISUAL and (keep == 'visual' or chain in annotated.boxes)


def _read_text(path: str, what: str) -> str:
    try:
        with open(path, encoding='utf-8-sig') as file:
            return file.read()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise FileNotFoundError(
            f'{path}: {what} does not exist; check data_root and data_prefix, or get the data '
            '(docs/en/data_preparation.md; Grounding Shapes: tools/misc/make_shapes.py)'
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: {what} is no text ({error}); download it again') from error


def box_around(boxes: list[Box]) -> Box:
    """The smallest box around some boxes, at least one."""
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return min(x1), min(y1), max(x2), max(y2)
