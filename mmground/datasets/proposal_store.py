import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np

_VERSION = 1
_SCHEMA = (
    'CREATE TABLE header (content TEXT NOT NULL)',
    'CREATE TABLE proposals (img_id TEXT PRIMARY KEY, boxes BLOB NOT NULL, labels BLOB NOT NULL, '
    'scores BLOB NOT NULL) WITHOUT ROWID',
)
# Little-endian, wherever the file is written and read.
_TYPES = dict(boxes='<f4', labels='<i8', scores='<f4')
_REMEDY = (
    'write it with tools/dataset_converters/extract_proposals.py or '
    'tools/dataset_converters/import_proposals.py'
)


class ProposalStore:
    """Proposals of a detector for the images of a data set, in one indexed file.

    The file is an SQLite database. Only what is asked for is read, and worker processes can share
    the file.

    Args:
        path: The file.

    Attributes:
        header (dict): ``detector`` (name), ``classes`` (names, in the order of the labels),
            ``config_hash`` (of the detector's settings and weights), ``order`` (``'source'`` if
            proposals come as a file of others had them; by default the best come first), and what
            else its writer says.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no store.

    Example:
        >>> store = ProposalStore('data/shapes/proposals.db')
        >>> boxes, labels, scores = (store['2'][key] for key in ('boxes', 'labels', 'scores'))
    """

    def __init__(self, path: str) -> None:
        self.path = str(path)
        self._connection: sqlite3.Connection | None = None
        self._owner = 0
        if not Path(path).is_file():
            raise FileNotFoundError(f'{path}: the proposals do not exist; {_REMEDY}')
        try:
            self.header = _read_header(self._connect())
        except (sqlite3.Error, ValueError) as error:
            if Path(f'{path}-journal').exists():
                # Only a writer may undo what was half written.
                raise ValueError(
                    f'{path}: its writer was interrupted; run it again with the same arguments, '
                    'and it goes on'
                ) from error
            raise ValueError(
                f'{path}: the file holds no proposals ({error}); it is damaged or another file: '
                f'{_REMEDY}'
            ) from error

    def _connect(self) -> sqlite3.Connection:
        # A connection must not be taken along into another process.
        if self._connection is None or self._owner != os.getpid():
            uri = f'file:{quote(str(Path(self.path).resolve()))}?mode=ro'
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            self._owner = os.getpid()
        return self._connection

    def __getstate__(self) -> dict:
        return dict(self.__dict__, _connection=None)

    def __getitem__(self, img_id: str) -> dict[str, np.ndarray]:
        """The proposals of an image, in the header's order.

        Args:
            img_id: The image.

        Returns:
            ``boxes``: xyxy in pixels of the original image, (n, 4), float32. ``labels``: indices
            into the header's classes, (n, ), int64. ``scores``: (n, ), float32.

        Raises:
            KeyError: If there are none of the image.
        """
        row = (
            self._connect()
            .execute('SELECT boxes, labels, scores FROM proposals WHERE img_id = ?', (img_id,))
            .fetchone()
        )
        if row is None:
            raise KeyError(img_id)
        found = {
            key: np.frombuffer(blob, dtype).astype(dtype[1:])
            for blob, (key, dtype) in zip(row, _TYPES.items(), strict=True)
        }
        found['boxes'] = found['boxes'].reshape(-1, 4)
        return found

    def __contains__(self, img_id: str) -> bool:
        query = 'SELECT 1 FROM proposals WHERE img_id = ?'
        return self._connect().execute(query, (img_id,)).fetchone() is not None

    def __len__(self) -> int:
        return self._connect().execute('SELECT COUNT(*) FROM proposals').fetchone()[0]

    def img_ids(self) -> list[str]:
        """All images of which there are proposals."""
        rows = self._connect().execute('SELECT img_id FROM proposals ORDER BY img_id')
        return [img_id for (img_id,) in rows]


class ProposalWriter:
    """Writes a file of :class:`ProposalStore`, or goes on with one that was interrupted.

    Each call of :meth:`add` is written whole or not at all.

    Args:
        path: The file.
        header: See :class:`ProposalStore`; must be what JSON can hold. A file that is there must
            have the same one.
        overwrite: Replace a file that is there.

    Raises:
        ValueError: If the header lacks something, or a file is there that is no store or has
            another header.
    """

    def __init__(self, path: str, header: dict, overwrite: bool = False) -> None:
        missing = {'detector', 'classes', 'config_hash'} - set(header)
        if missing:
            raise ValueError(f'the header of proposals lacks {sorted(missing)}')
        self.path = str(path)
        self.header = json.loads(json.dumps(header))
        self._num_classes = len(self.header['classes'])
        target = Path(path)
        if overwrite:
            target.unlink(missing_ok=True)
        if target.exists():
            _undo_half_written(target)
            self._check_same()
        target.parent.mkdir(parents=True, exist_ok=True)
        is_new = not target.exists()
        self._connection = sqlite3.connect(target)
        if is_new:
            with self._connection:
                # In one transaction, so that no file is without its header.
                self._connection.execute('BEGIN')
                for statement in _SCHEMA:
                    self._connection.execute(statement)
                content = json.dumps(dict(version=_VERSION, header=self.header))
                self._connection.execute('INSERT INTO header VALUES (?)', (content,))

    def _check_same(self) -> None:
        theirs = ProposalStore(self.path).header
        different = sorted(
            key
            for key in theirs.keys() | self.header.keys()
            if theirs.get(key) != self.header.get(key)
        )
        if different:
            raise ValueError(
                f'{self.path}: the file has proposals made otherwise ({", ".join(different)}), by '
                'another detector, other weights of it or other settings, which cannot be mixed '
                'with these; give another file, or replace it (--overwrite)'
            )

    def __enter__(self) -> 'ProposalWriter':
        return self

    def __exit__(self, *_) -> None:
        self._connection.close()

    def done(self) -> set[str]:
        """Images of which there are proposals already."""
        with closing(self._connection.execute('SELECT img_id FROM proposals')) as rows:
            return {img_id for (img_id,) in rows}

    def add(self, proposals: Iterable[tuple[str, dict[str, np.ndarray]]]) -> None:
        """Write the proposals of some images.

        Args:
            proposals: Pairs of an image and its ``boxes``, ``labels`` and ``scores``, see
                :meth:`ProposalStore.__getitem__`; any number of them, in the header's order.

        Raises:
            ValueError: If an image comes twice, or its proposals are not as they should be.
        """
        rows = [(img_id, *self._encode(img_id, own)) for img_id, own in proposals]
        try:
            with self._connection:
                self._connection.executemany('INSERT INTO proposals VALUES (?, ?, ?, ?)', rows)
        except sqlite3.IntegrityError as error:
            raise ValueError(
                f'{self.path}: proposals of an image are added twice, among '
                f'{[row[0] for row in rows][:5]}'
            ) from error

    def _encode(self, img_id: str, proposals: dict[str, np.ndarray]) -> list[bytes]:
        boxes, labels, scores = (np.asarray(proposals[key]) for key in _TYPES)
        problem = None
        if boxes.shape != (len(boxes), 4) or {labels.shape, scores.shape} != {(len(boxes),)}:
            problem = f'shapes {boxes.shape}, {labels.shape} and {scores.shape}'
        elif not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            problem = 'numbers that are not finite'
        elif not (boxes[:, :2] < boxes[:, 2:]).all():
            problem = 'a box without area'
        elif len(labels) and not (labels.min() >= 0 and labels.max() < self._num_classes):
            problem = f'a label that is none of the {self._num_classes} classes'
        elif self.header.get('order') != 'source' and (np.diff(scores) > 0).any():
            problem = 'scores that increase'
        if problem:
            raise ValueError(
                f'{self.path}: the boxes, labels and scores of image {img_id!r} have {problem}'
            )
        arrays = zip((boxes, labels, scores), _TYPES.values(), strict=True)
        return [np.ascontiguousarray(array, dtype).tobytes() for array, dtype in arrays]


def check_same_classes(ours: Sequence[str], theirs: Sequence[str], what: str) -> None:
    """Check that proposals carry the categories that a model knows.

    Args:
        ours: Names that the model has for labels, in their order.
        theirs: Those of the proposals.
        what: Where the proposals come from, for the error.

    Raises:
        ValueError: If they differ in more than upper and lower case.
    """
    ours, theirs = ([name.lower() for name in names] for names in (ours, theirs))
    if ours == theirs:
        return
    place = next(
        (i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
        min(len(ours), len(theirs)),
    )
    one, two = (repr(own[place]) if place < len(own) else 'none' for own in (theirs, ours))
    raise ValueError(
        f'{what} have other categories than the model: {len(theirs)} and {len(ours)}, of which '
        f'number {place} is {one} and {two}. Use the detector of the training, or set '
        "model.head.similarity.classes to this one's names"
    )


def _undo_half_written(path: Path) -> None:
    """What a killed process was about to write is undone by the first reader that may write."""
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.Error):
        # Whether it is a store is checked later.
        connection.execute('SELECT COUNT(*) FROM header').fetchone()


def _read_header(connection: sqlite3.Connection) -> dict:
    rows = connection.execute('SELECT content FROM header').fetchall()
    if len(rows) != 1:
        raise ValueError('it has no header')
    content = json.loads(rows[0][0])
    if content.get('version') != _VERSION:
        raise ValueError(f'it is of version {content.get("version")}, not {_VERSION}')
    return content['header']
