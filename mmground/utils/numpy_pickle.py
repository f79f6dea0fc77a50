"""Reading pickles of NumPy arrays without running code that a file brings along."""

import codecs
import os.path as osp
import pickle
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np

_TRUST_OPTION = 'If you trust where it comes from, pass --trust-checkpoint (it may then run code)'


def read_numpy_archive(path: str) -> dict[str, Any]:
    """Read an ``.npz`` of which entries may be Python objects, without running code.

    Args:
        path: The file.

    Returns:
        By name an array; or, of an entry that was pickled, the plain data that it holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or holds objects other than arrays and plain data.
    """
    try:
        with np.load(path, allow_pickle=False) as archive, zipfile.ZipFile(path) as files:
            return {name: _read_entry(archive, files, name) for name in archive.files}
    except FileNotFoundError as error:
        raise FileNotFoundError(f'archive {path} does not exist') from error
    except Exception as error:
        # Bytes that are no archive make the readers stumble in any way.
        raise ValueError(
            f'archive {path} cannot be read, it is damaged, no .npz, or holds objects other than '
            f'arrays and plain data: {error}'
        ) from error


def _read_entry(archive: np.lib.npyio.NpzFile, files: zipfile.ZipFile, name: str) -> Any:
    with files.open(f'{name}.npy') as file:
        version = np.lib.format.read_magic(file)
        if version[0] > 2:
            return archive[name]
        read_header = getattr(np.lib.format, f'read_array_header_{version[0]}_0')
        _, _, dtype = read_header(file)
        if not dtype.hasobject:
            return archive[name]
        return _finish(_ObjectUnpickler(file, encoding='latin1').load())


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


class _Objects:
    """Stands for the element type of Python objects."""

    def __setstate__(self, state) -> None:
        pass


class _Array:
    """Stands for an array while a pickle is read."""

    value = None

    def __setstate__(self, state) -> None:
        _, shape, dtype, is_fortran, data = state
        if isinstance(dtype, _Objects):
            self.value = list(data) if shape else data[0]
            return
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


class _ObjectUnpickler(_NumpyUnpickler):
    """Also reads arrays of objects: as a list of them, or as the only one."""

    def find_class(self, module: str, name: str):
        if (module, name) == ('numpy', 'dtype'):
            return _new_dtype_or_objects
        return super().find_class(module, name)


def _new_dtype_or_objects(code, align=False, copy=False) -> _Dtype | _Objects:
    return _Objects() if code in ('O', 'O8') else _Dtype(code)


def _finish(value):
    """Put arrays and element types in the place of what stood for them."""
    if isinstance(value, _Array | _Dtype):
        return value.value if isinstance(value.value, np.ndarray) else _finish(value.value)
    if isinstance(value, dict):
        return type(value)((_finish(key), _finish(item)) for key, item in value.items())
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_finish(item) for item in value)
    return value
