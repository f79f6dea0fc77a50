import os
import sys
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

from mmground.utils.measure import call_in_process, peak_memory_mb, reset_peak_memory

_SIZE = 100_000_000


def test_the_peak_outlives_what_caused_it():
    before = peak_memory_mb()
    array = np.ones(_SIZE * 2, dtype=np.uint8)
    del array
    assert peak_memory_mb() >= before


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux can forget a peak')
def test_a_peak_can_begin_anew():
    array = np.ones(_SIZE, dtype=np.uint8)
    peak = peak_memory_mb()
    del array
    reset_peak_memory()
    rest = peak_memory_mb()
    assert rest < peak - 50
    array = np.ones(_SIZE, dtype=np.uint8)
    assert peak_memory_mb() == pytest.approx(rest + len(array) / 1e6, abs=20)


def test_a_call_runs_elsewhere_and_returns_or_raises():
    assert call_in_process(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        call_in_process(divmod, 7, 0)
    with pytest.raises(BrokenProcessPool):
        call_in_process(os._exit, 1)
