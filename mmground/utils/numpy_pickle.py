"""Reading pickles of NumPy arrays without running code that a file brings along."""

import codecs
import os.path as osp
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np

_TRUST_OPTION = 'If you trust where it comes from, pass --trust-checkpoint (it may then run code)'


def read_numpy_pickle(
    path: str, trust_checkpoint: bool = False, remedy: str = _TRUST_OPTION
) -> Any:
    """Read a pickle of Python's containers, numbers, strings and NumPy arrays.

    Nothing that the file names is looked up or called. Arrays are put together here from
    their bytes, because NumPy's own unpickling trusts what a file says of memory.

    Args:
        path: The file. Strings of Python 2 are decoded as Latin-1.
        trust_checkpoint: Load any Python object, which can run any code.
        remedy: What the error says to do about other objects.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, damaged, or holds other objects.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'pickle {path} does not exist')
    if osp.getsize(path) == 0:
        raise ValueError(f'pickle {path} cannot be read, it is empty: get the file again')
    unpickler = pickle.Unpickler if trust_checkpoint else _NumpyUnpickler
    try:
        with open(path, 'rb') as file:
            return _finish(unpickler(file, encoding='latin1').load())
    except _RefusedError as error:
        raise ValueError(
            f'pickle {path} holds objects other than arrays and plain data: {error}. {remedy}'
        ) from error
    except Exception as error:
        # Bytes that are no pickle make an unpickler stumble in any way.
        raise ValueError(
            f'pickle {path} cannot be read, it is damaged or no pickle: {error}'
        ) from error


class _RefusedError(Exception):
    pass


class _Dtype:
    """Stands for an element type while a pickle is read."""

    def __init__(self, code) -> None:
        self.value = np.dtype(code) if isinstance(code, str) else None
        if self.value is None or self.value.kind not in 'biufcSU':
            raise _RefusedError(f'an array of elements of type {code!r}')

    def __setstate__(self, state) -> None:
        byte_order = state[1]
        self.value = self.value.newbyteorder(byte_order)


class _Array:
    """Stands for an array while a pickle is read."""

    value = None

    def __setstate__(self, state) -> None:
        _, shape, dtype, is_fortran, data = state
        self.value = _array(data, dtype, shape, 'F' if is_fortran else 'C')


def _array(data, dtype: _Dtype, shape, order: str = 'C') -> np.ndarray:
    data = data.encode('latin1') if isinstance(data, str) else data
    return np.frombuffer(data, dtype.value).reshape(shape, order=order).copy(order)


def _new_dtype(code, align=False, copy=False) -> _Dtype:
    return _Dtype(code)


def _new_array(subtype, shape, code) -> _Array:
    return _Array()


def _new_scalar(dtype: _Dtype, data) -> np.generic:
    return _array(data, dtype, ())[()]


def _encode(text: str, encoding: str) -> bytes:
    """How protocols before 3 write bytes."""
    if encoding != 'latin1':
        raise _RefusedError(f'the codec {encoding!r}')
    return codecs.latin_1_encode(text)[0]


def _empty_bytes() -> bytes:
    """How protocols before 3 write bytes of length 0."""
    return b''


_STAND_INS = {
    ('numpy', 'dtype'): _new_dtype,
    # Only ever an argument.
    ('numpy', 'ndarray'): 'numpy.ndarray',
    ('_codecs', 'encode'): _encode,
    ('collections', 'OrderedDict'): OrderedDict,
}
for _core in ('numpy.core', 'numpy._core'):
    _STAND_INS |= {
        (f'{_core}.multiarray', '_reconstruct'): _new_array,
        (f'{_core}.multiarray', 'scalar'): _new_scalar,
        (f'{_core}.numeric', '_frombuffer'): _array,
    }
# Python 2 and 3.
for _builtins in ('__builtin__', 'builtins'):
    _STAND_INS |= {
        (_builtins, kind.__name__): kind for kind in (set, frozenset, bytearray, complex)
    }
    _STAND_INS[_builtins, 'bytes'] = _empty_bytes


class _NumpyUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise _RefusedError(f'it asks for {module}.{name}') from None


def _finish(value):
    """Put arrays and element types in the place of what stood for them."""
    if isinstance(value, _Array | _Dtype):
        return value.value
    if isinstance(value, dict):
        return type(value)((_finish(key), _finish(item)) for key, item in value.items())
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_finish(item) for item in value)
    return value
