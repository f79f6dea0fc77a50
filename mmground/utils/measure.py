"""What the benchmark tools share: memory, and measurements in a process of their own."""

import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB (1e6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == 'darwin' else peak * 1024 / 1e6


def reset_peak_memory() -> None:
    """Begin the peak of :func:`peak_memory_mb` anew, where the system can (Linux)."""
    # Memory that was freed goes back to the system first, or it would count as in use.
    gc.collect()
    with suppress(OSError, AttributeError):  # AttributeError: a C library without it
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')


def call_in_process(function: Callable, *args):
    """Call a function in a new process, whose peak memory is that of the call.

    Args:
        function: A function of an importable module or of the main program.
        *args: Its arguments, which can be pickled.

    Returns:
        What the function returns; what it raises is raised here.

    Raises:
        BrokenProcessPool: If the process ends before the function does.
    """
    # Unlike a Pool, it says so when the process is killed, for want of memory say.
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as executor:
        return executor.submit(function, *args).result()
