import pickle

import pytest

from mmground.datasets.packed_records import PackedRecords

RECORDS = [dict(text='a' * i, links=[(i, j) for j in range(i)]) for i in range(7)]


def test_is_a_list_of_copies():
    packed = PackedRecords(RECORDS)
    assert len(packed) == 7
    assert list(packed) == RECORDS
    assert packed[-1] == RECORDS[-1]
    assert packed[1:6:2] == RECORDS[1:6:2]
    assert packed[-3:] == RECORDS[-3:]
    packed[0]['text'] = 'changed'
    assert packed[0] == RECORDS[0]
    for index in (7, -8):
        with pytest.raises(IndexError):
            packed[index]
    assert not PackedRecords()


def test_arrays_hold_the_records_end_to_end():
    data, ends = PackedRecords(RECORDS).arrays()
    starts = [0, *ends[:-1]]
    assert [
        pickle.loads(data[start:end].tobytes()) for start, end in zip(starts, ends, strict=True)
    ] == RECORDS
