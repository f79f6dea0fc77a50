import os
import pickle
import sys
from collections import OrderedDict

import numpy as np
import pytest

from mmground.utils.numpy_pickle import read_numpy_archive, read_numpy_pickle

CONTENT = dict(
    model=OrderedDict(
        a=np.arange(6, dtype=np.float32).reshape(2, 3),
        fortran=np.asfortranarray(np.arange(6).reshape(2, 3)),
        big_endian=np.arange(3, dtype='>f4'),
        half=np.ones((0, 3), np.float16),
        flags=np.array([True, False]),
        words=np.array(['one', 'three']),
        number=np.array(7),
    ),
    scalar=np.float64(0.594),
    nested=[(1, 2.5, None), {'x'}, b'\x00\xff', 'ä'],
)


class Call:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def _check_equal(value, expected):
    assert type(value) is type(expected)
    if isinstance(expected, dict):
        assert list(value) == list(expected)
        for key, item in expected.items():
            _check_equal(value[key], item)
    elif isinstance(expected, np.ndarray | np.generic):
        assert value.dtype == expected.dtype
        np.testing.assert_array_equal(value, expected)
    else:
        assert value == expected


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers_of_every_protocol(tmp_path, protocol):
    path = tmp_path / 'a.pkl'
    path.write_bytes(pickle.dumps(CONTENT, protocol))
    _check_equal(read_numpy_pickle(str(path)), CONTENT)
    read_numpy_pickle(str(path))['model']['a'] += 1  # its own memory


def test_names_of_older_numpy(tmp_path):
    path = tmp_path / 'a.pkl'
    data = pickle.dumps(CONTENT, 2)
    assert b'numpy._core.multiarray' in data
    path.write_bytes(data.replace(b'numpy._core.multiarray', b'numpy.core.multiarray'))
    _check_equal(read_numpy_pickle(str(path)), CONTENT)


def test_strings_of_python_2(tmp_path):
    path = tmp_path / 'a.pkl'
    # A str of two bytes, as Python 2 wrote it: SHORT_BINSTRING.
    path.write_bytes(b'\x80\x02U\x02\xe4b.')
    assert read_numpy_pickle(str(path)) == 'äb'


def test_code_runs_only_if_trusted(tmp_path):
    path, folder = tmp_path / 'evil.pkl', tmp_path / 'made'
    path.write_bytes(pickle.dumps(dict(model=dict(a=Call(os.mkdir, str(folder))))))
    with pytest.raises(ValueError, match=r'evil\.pkl holds objects.*mkdir.*--trust-checkpoint'):
        read_numpy_pickle(str(path))
    assert not folder.exists()
    read_numpy_pickle(str(path), trust_checkpoint=True)
    assert folder.exists()


@pytest.mark.parametrize(
    'value',
    [
        Call(getattr, np.ndarray, 'tofile'),
        Call(eval, '1'),
        Call(sys.exit),
        # Elements that are addresses in memory.
        np.array([None, 1], dtype=object),
        np.zeros(2, dtype=[('x', 'f4')]),
        Call(np.dtype, 'O'),
    ],
)
def test_other_objects_are_refused(tmp_path, value):
    path = tmp_path / 'a.pkl'
    path.write_bytes(pickle.dumps([value]))
    with pytest.raises(ValueError, match='holds objects other than arrays'):
        read_numpy_pickle(str(path))


def test_damaged_files(tmp_path):
    path = tmp_path / 'a.pkl'
    with pytest.raises(FileNotFoundError, match=r'a\.pkl does not exist'):
        read_numpy_pickle(str(path))
    whole = pickle.dumps(CONTENT)
    for data in (b'', whole[:-40], whole[: len(whole) // 2], b'<html>', b'\x80\x04.'):
        path.write_bytes(data)
        for trust in (False, True):
            with pytest.raises(ValueError, match=r'a\.pkl cannot be read, it is (empty|damaged)'):
                read_numpy_pickle(str(path), trust)


def test_archives_with_objects(tmp_path):
    path = tmp_path / 'a.npz'
    info = dict(name='x', ids=np.arange(3), nested=[(1, 'b')])
    np.savez_compressed(path, x=np.eye(2), n=3, info=info, some=np.array([None, 1], dtype=object))
    found = read_numpy_archive(str(path))
    assert set(found) == {'x', 'n', 'info', 'some'}
    np.testing.assert_array_equal(found['x'], np.eye(2))
    assert found['n'] == 3 and found['some'] == [None, 1]
    assert found['info']['name'] == 'x' and found['info']['nested'] == [(1, 'b')]
    np.testing.assert_array_equal(found['info']['ids'], np.arange(3))
    np.savez(path, info=np.array([{1: print}], dtype=object))
    with pytest.raises(ValueError, match=r'a\.npz cannot be read'):
        read_numpy_archive(str(path))
    with pytest.raises(FileNotFoundError, match='does not exist'):
        read_numpy_archive(str(tmp_path / 'none.npz'))
