import pickle
from collections.abc import Iterable, Sequence

import numpy as np


class PackedRecords(Sequence):
    """A list of records that are kept pickled, end to end in one buffer.

    A record of nested dicts and lists takes several times as much memory as its pickle.
    Each access makes a new copy.

    Args:
        records: The first records.

    Example:
        >>> PackedRecords([dict(text='a cat')])[0]
        {'text': 'a cat'}
    """

    def __init__(self, records: Iterable[dict] = ()) -> None:
        self._buffer = bytearray()
        self._ends: list[int] = []
        for record in records:
            self.append(record)

    def append(self, record: dict) -> None:
        """Add a record at the end."""
        self._buffer += pickle.dumps(record, protocol=4)
        self._ends.append(len(self._buffer))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError('record index out of range')
        start = self._ends[index - 1] if index else 0
        with memoryview(self._buffer) as buffer:
            return pickle.loads(buffer[start : self._ends[index]])

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """The buffer, uint8, and the end of each record in it, int64: what
        :class:`mmengine.dataset.BaseDataset` keeps. The buffer is not copied, and no record
        can be added from then on."""
        return np.frombuffer(self._buffer, dtype=np.uint8), np.array(self._ends, dtype=np.int64)
