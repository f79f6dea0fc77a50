"""A text laid out in lines, its phrases marked in their colours."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from .palette import phrase_color, text_color_on

_INK = (30, 30, 30)
_PALE = (120, 120, 120)
# Shapes are drawn this many times larger and reduced, which smooths their edges:
# Pillow itself draws them without anti-aliasing.
_SMOOTHING = 4


@dataclass
class _Atom:
    """A piece of a line that is drawn in one go.

    ``kind`` is "text", "space", "number" (before a phrase), "note" (a remark after a
    phrase, such as that it refers to nothing) or "gap" (at both ends of a phrase).
    ``owner`` is the phrase on whose background it stands, or which a note is about;
    ``around`` the longer phrases about it.
    """

    kind: str
    text: str
    owner: int | None
    around: tuple[int, ...]
    width: float


def load_font(size: int, font_file: str | None = None):
    """A TrueType font: of a file, or the one that Pillow carries (Latin letters only).

    Args:
        size: Height of the letters in pixels.
        font_file: Path of a ``.ttf`` or ``.otf`` file.
    """
    return ImageFont.truetype(font_file, size) if font_file else ImageFont.load_default(size)


def rounded_box(
    image: Image.Image,
    box: Sequence[float],
    radius: float,
    fill: tuple[int, int, int] | None = None,
    outline: tuple[int, int, int] | None = None,
    line_width: float = 1,
) -> None:
    """Draw a rectangle with round corners and smooth edges on an RGB image, in place.

    Args:
        image: The picture.
        box: xyxy in pixels.
        radius: Of the corners, in pixels.
        fill: RGB of the inside; None leaves it.
        outline: RGB of the edge; None draws none.
        line_width: Of the edge, in pixels.
    """
    left, top, right, bottom = (round(value) for value in box)
    size = (max(right - left, 1), max(bottom - top, 1))
    large = (size[0] * _SMOOTHING, size[1] * _SMOOTHING)
    area = (0, 0, large[0] - 1, large[1] - 1)
    for color, style in (
        (fill, dict(fill=255)),
        (outline, dict(outline=255, width=max(round(line_width * _SMOOTHING), 1))),
    ):
        if color is None:
            continue
        mask = Image.new('L', large, 0)
        ImageDraw.Draw(mask).rounded_rectangle(area, radius * _SMOOTHING, **style)
        image.paste(color, (left, top), mask.resize(size, Image.Resampling.BOX))


def draw_badge(
    image: Image.Image, center: Sequence[float], text: str, color: tuple[int, int, int], font
) -> None:
    """Draw a phrase's number on its colour, with a white edge, on an RGB image, in place.

    Args:
        image: The picture.
        center: xy in pixels.
        text: The number.
        color: RGB of the phrase.
        font: Font of the number.
    """
    width, height = badge_size(text, font)
    x, y = center
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    rounded_box(image, box, height / 2, color, (255, 255, 255), max(height / 14, 1))
    ImageDraw.Draw(image).text((x, y), text, text_color_on(color), font, anchor='mm')


def badge_size(text: str, font) -> tuple[float, float]:
    """Width and height of a badge in pixels, see :func:`draw_badge`."""
    height = font.size * 1.5
    return max(font.getlength(text) + font.size * 0.8, height), height


def render_caption(
    text: str,
    phrases: Sequence[dict],
    width: int,
    font_size: int,
    missing: Collection[int] = (),
    font_file: str | None = None,
    notes: Mapping[int, str] | None = None,
) -> Image.Image:
    """Lay a text out in lines and mark its phrases.

    The words of phrase i stand on ``phrase_color(i)`` after its number (from 1).
    Where phrases overlap, words belong to the shortest and the others underline
    them.

    Args:
        text: The text. Any white space separates words.
        phrases: Dicts with ``span``, the character range ``(start, end)``.
        width: Of the picture, in pixels.
        font_size: In pixels.
        missing: Indices of phrases that refer to nothing in the picture. They are
            struck out and followed by "(none)".
        font_file: See :func:`load_font`.
        notes: By index of a phrase a remark that follows it, small.

    Returns:
        An RGB picture as high as the text needs.
    """
    notes = dict(notes or {})
    for phrase in missing:
        notes[phrase] = ' '.join(['(none)', *filter(None, [notes.get(phrase)])])
    return _Caption(text, phrases, width, font_size, set(missing), font_file, notes).render()


class _Caption:
    def __init__(self, text, phrases, width, font_size, missing, font_file, notes):
        self.text = text
        self.spans = [tuple(phrase['span']) for phrase in phrases]
        self.missing = missing
        self.notes = notes
        self.font = load_font(font_size, font_file)
        self.small_font = load_font(max(round(font_size * 0.72), 8), font_file)
        self.margin = font_size * 0.8
        self.padding = font_size * 0.2
        self.line_height = font_size * 1.75
        self.width = width
        self.room = width - 2 * self.margin

    def render(self) -> Image.Image:
        lines = self._lines()
        depth = max((len(atom.around) for line in lines for atom in line), default=0)
        # Underlines of phrases around other phrases need room below the words.
        pitch = self.line_height + max(depth - 1, 0) * self.font.size * 0.2
        height = round(len(lines) * pitch + 2 * self.margin * 0.75)
        image = Image.new('RGB', (self.width, height), (255, 255, 255))
        for index, line in enumerate(lines):
            self._draw_line(image, line, self.margin * 0.75 + index * pitch)
        return image

    def _words(self) -> list[list[_Atom]]:
        """The text in words: lists of atoms between which no line may break.

        White space is a word of its own, a single atom of kind "space".
        """
        length = len(self.text)
        cover = [self._covering(position) for position in range(length)]
        words: list[list[_Atom]] = [[]]
        for token in re.finditer(r'\s+|\S+', self.text):
            start, end = token.span()
            if token.group().isspace():
                words += [[self._atom('space', ' ', cover[start])], []]
                continue
            position = start
            while position < end:
                words[-1] += self._numbers_at(position, cover[position])
                stop = position + 1
                while (
                    stop < end
                    and cover[stop] == cover[position]
                    and not any(span[0] == stop or span[1] == stop for span in self.spans)
                ):
                    stop += 1
                words[-1] += self._text_atoms(self.text[position:stop], cover[position])
                words[-1] += self._endings_at(stop)
                position = stop
        return [word for word in words if word]

    def _covering(self, position: int) -> tuple[int, ...]:
        """Phrases over a character, the shortest (the owner) first."""
        found = [i for i, (start, end) in enumerate(self.spans) if start <= position < end]
        return tuple(sorted(found, key=lambda i: self.spans[i][1] - self.spans[i][0]))

    def _numbers_at(self, position: int, cover: tuple[int, ...]) -> list[_Atom]:
        # Of phrases that start together the longest comes first.
        atoms = []
        for rank, phrase in reversed(list(enumerate(cover))):
            if self.spans[phrase][0] == position:
                atoms.append(self._atom('gap', '', (None, *cover[rank + 1 :])))
                atoms.append(self._atom('number', str(phrase + 1), cover[rank:]))
        return atoms

    def _endings_at(self, position: int) -> list[_Atom]:
        ending = [i for i, (_, end) in enumerate(self.spans) if end == position]
        if not ending:
            return []
        around = tuple(i for i in self._covering(position - 1) if i not in ending)
        atoms = [self._atom('gap', '', (None, *around))]
        for phrase in sorted(self.notes.keys() & set(ending)):
            atoms.append(self._atom('note', self.notes[phrase], (phrase, *around)))
        return atoms

    def _text_atoms(self, text: str, cover: tuple[int, ...]) -> list[_Atom]:
        atoms = []
        while self.font.getlength(text) > self.room and len(text) > 1:
            # A word wider than the picture is broken where the line ends.
            fit = max(
                (
                    n
                    for n in range(1, len(text))
                    if self.font.getlength(text[:n]) <= self.room * 0.9
                ),
                default=1,
            )
            atoms.append(self._atom('text', text[:fit], cover))
            text = text[fit:]
        return [*atoms, self._atom('text', text, cover)]

    def _atom(self, kind: str, text: str, cover: tuple[int, ...]) -> _Atom:
        owner = cover[0] if cover else None
        if kind == 'number':
            width = badge_size(text, self.small_font)[0] + self.padding
        elif kind == 'note':
            width = self.small_font.getlength(text) + self.font.size * 0.3
        elif kind == 'gap':
            # The background of a phrase reaches beyond its words, and touches no others.
            width = self.padding + self.font.size * 0.1
        else:
            width = self.font.getlength(text)
        return _Atom(kind, text, owner, cover[1:], width)

    def _lines(self) -> list[list[_Atom]]:
        lines: list[list[_Atom]] = [[]]
        used = 0.0
        for word in self._words():
            width = sum(atom.width for atom in word)
            if word[0].kind == 'space':
                if lines[-1]:
                    lines[-1].append(word[0])
                    used += width
                continue
            # A long word is broken between its atoms.
            parts = [word] if width <= self.room else [[atom] for atom in word]
            for part in parts:
                width = sum(atom.width for atom in part)
                if lines[-1] and used + width > self.room:
                    lines.append([])
                    used = 0.0
                lines[-1] += part
                used += width
        for line in lines:
            if line and line[-1].kind == 'space':
                line.pop()
        return lines

    def _draw_line(self, image: Image.Image, line: list[_Atom], top: float) -> None:
        middle = top + self.line_height / 2
        lefts, left = [], self.margin
        for atom in line:
            lefts.append(left)
            left += atom.width
        self._draw_backgrounds(image, line, lefts, middle)
        draw = ImageDraw.Draw(image)
        for atom, left in zip(line, lefts, strict=True):
            if atom.kind == 'number':
                self._draw_number(image, atom, left, middle)
            elif atom.kind == 'note':
                place = (left + self.font.size * 0.15, middle)
                draw.text(place, atom.text, _PALE, self.small_font, anchor='lm')
            elif atom.kind == 'text':
                draw.text((left, middle), atom.text, self._ink(atom.owner), self.font, anchor='lm')
        self._draw_lines_through(draw, line, lefts, middle)

    def _ink(self, owner: int | None) -> tuple[int, int, int]:
        if owner is None:
            return _INK
        return _PALE if owner in self.missing else text_color_on(phrase_color(owner))

    def _draw_backgrounds(self, image, line, lefts, middle) -> None:
        half = self.font.size * 0.72
        for owner, first, last in _stretches([atom.owner for atom in line], line):
            if owner in self.missing:
                continue
            right = lefts[last] + line[last].width
            box = (lefts[first] - self.padding, middle - half, right + self.padding, middle + half)
            rounded_box(image, box, self.font.size * 0.3, phrase_color(owner))

    def _draw_number(self, image, atom: _Atom, left: float, middle: float) -> None:
        width, _ = badge_size(atom.text, self.small_font)
        half = self.small_font.size * 0.66
        color = phrase_color(atom.owner)
        box = (left, middle - half, left + width, middle + half)
        rounded_box(image, box, half, (255, 255, 255), color)
        place = (left + width / 2, middle)
        ImageDraw.Draw(image).text(place, atom.text, _INK, self.small_font, anchor='mm')

    def _draw_lines_through(self, draw, line, lefts, middle) -> None:
        thickness = max(round(self.font.size / 12), 1)
        for owner, first, last in _stretches([atom.owner for atom in line], line):
            words = [i for i in range(first, last + 1) if line[i].kind in ('text', 'space')]
            if owner in self.missing and words:
                right = lefts[words[-1]] + line[words[-1]].width
                draw.line((lefts[words[0]], middle, right, middle), _PALE, thickness)
        levels = max((len(atom.around) for atom in line), default=0)
        for level in range(levels):
            outer = [atom.around[level] if len(atom.around) > level else None for atom in line]
            y = middle + self.font.size * (0.84 + 0.2 * level)
            for owner, first, last in _stretches(outer, line):
                right = lefts[last] + line[last].width
                draw.line((lefts[first], y, right, y), phrase_color(owner), thickness + 1)


def _stretches(owners: Sequence[int | None], line: Sequence[_Atom]):
    """Stretches of a line with one owner: owner, first and last atom.

    A number starts a stretch of its own even where the owner stays the same phrase.
    """
    stretches = []
    for index, (owner, atom) in enumerate(zip(owners, line, strict=True)):
        if owner is None or atom.kind == 'note':
            continue
        if stretches and stretches[-1][0] == owner and stretches[-1][2] == index - 1:
            stretches[-1][2] = index
        else:
            stretches.append([owner, index, index])
    return stretches
