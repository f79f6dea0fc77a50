"""Large JSON files, read one entry at a time.

An annotation file of hundreds of megabytes becomes gigabytes of Python objects. Here only one
entry of a list exists at a time, and a block of the file's text.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from mmengine import fileio

_BLOCK = 1 << 20
_SPACE = re.compile(r'[ \t\n\r]*')
_raw_decode = json.JSONDecoder().raw_decode


def iter_json(path: str, backend_args: dict | None = None) -> Iterator[tuple[str | None, Any]]:
    """The entries of a JSON file that holds a list, or an object of lists.

    Args:
        path: The file.
        backend_args: File backend of :mod:`mmengine.fileio`.

    Yields:
        Pairs ``(key, entry)`` in the order of the file. Of a list at the top, the entries,
        under the key None. Of an object, for a value that is a list ``(key, [])`` first and
        then its entries, for any other value the value. Of anything else, it under None.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not valid JSON. What comes before the damage has been yielded.
    """
    try:
        with (
            fileio.get_local_path(path, backend_args=backend_args) as local_path,
            open(local_path, encoding='utf-8-sig') as file,
        ):
            yield from _Scanner(path, file).entries()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{path}: the annotation file does not exist; check data_root, or get the data '
            '(docs/en/data_preparation.md; Grounding Shapes: tools/misc/make_shapes.py)'
        ) from error


class _Scanner:
    """A window on a file's text that moves from value to value."""

    def __init__(self, path: str, file) -> None:
        self.path = path
        self.file = file
        self.text = ''
        self.place = 0
        self.dropped = 0  # characters before the window
        self.at_end = False

    def entries(self) -> Iterator[tuple[str | None, Any]]:
        first = self._peek()
        if first == '[':
            yield from ((None, entry) for entry in self._list())
        elif first == '{':
            for key in self._keys():
                if self._peek() == '[':
                    yield key, []
                    yield from ((key, entry) for entry in self._list())
                else:
                    yield key, self._value()
        else:
            yield None, self._value()
        if self._peek():
            self._refuse('there is more after its end')

    def _list(self) -> Iterator[Any]:
        self._take('[')
        if self._peek() == ']':
            self._take(']')
            return
        while True:
            yield self._value()
            if self._take(',]') == ']':
                return

    def _keys(self) -> Iterator[str]:
        """The keys of an object; the caller reads each value before it asks for the next."""
        self._take('{')
        if self._peek() == '}':
            self._take('}')
            return
        while True:
            if self._peek() != '"':
                self._refuse('a key must be a string')
            key = self._value()
            self._take(':')
            yield key
            if self._take(',}') == '}':
                return

    def _value(self) -> Any:
        self._peek()
        size = _BLOCK
        while True:
            try:
                value, end = _raw_decode(self.text, self.place)
            except json.JSONDecodeError as error:
                if self.at_end:
                    self._refuse(error.msg, error.pos)
            else:
                # A number may go on in the next block: of "1.5e3" a part may be there.
                if self.at_end or self.text[end : end + 1] not in ('', '.', 'e', 'E'):
                    self.place = end
                    return value
            self._read(size)
            size *= 2

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            self.place = _SPACE.match(self.text, self.place).end()
            if self.place < len(self.text):
                return self.text[self.place]
            if self.at_end:
                return ''
            self._read(_BLOCK)

    def _take(self, wanted: str) -> str:
        found = self._peek()
        if not found or found not in wanted:
            self._refuse(f'expected {" or ".join(wanted)}')
        self.place += 1
        return found

    def _read(self, size: int) -> None:
        try:
            block = self.file.read(size)
        except ValueError as error:
            self._refuse(str(error))
        self.at_end = not block
        self.dropped += self.place
        self.text = self.text[self.place :] + block
        self.place = 0

    def _refuse(self, problem: str, place: int | None = None) -> NoReturn:
        place = self.dropped + (self.place if place is None else place)
        raise ValueError(
            f'{self.path}: the annotation file is not valid JSON ({problem}, at character '
            f'{place}); it is truncated or another file: download it again'
        )
