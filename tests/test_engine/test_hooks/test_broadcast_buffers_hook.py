from types import SimpleNamespace

import pytest
import torch
from processes import run_processes
from torch import nn

from mmground.engine import BroadcastBuffersHook


def _statistics_after(rank, event):
    model = nn.BatchNorm1d(2)
    model.register_buffer('vocab', torch.tensor([200, 201], dtype=torch.uint8))
    model.running_mean += rank + 1
    getattr(BroadcastBuffersHook(), event)(SimpleNamespace(model=model))
    return {name: buffer.tolist() for name, buffer in model.named_buffers()}


@pytest.mark.parametrize('event', ['before_val_epoch', 'after_train'])
def test_all_processes_take_the_statistics_of_the_first(tmp_path, event):
    first, second = run_processes(_statistics_after, tmp_path, event)
    assert first['running_mean'] == [1, 1]
    assert second == first
    assert first['vocab'] == [200, 201]


def test_one_process_changes_nothing():
    assert _statistics_after(4, 'after_train')['running_mean'] == [5, 5]
