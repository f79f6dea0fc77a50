from types import SimpleNamespace

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from processes import run_processes
from torch import nn

from mmground.engine import BroadcastBuffersHook
from mmground.models.heads.relation_classifier import RelationClassifier


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


def _train_after_loading(rank, rows):
    classifier = RelationClassifier(2, 2)
    classifier.from_file = True
    model = MMDistributedDataParallel(classifier)
    stored = RelationClassifier(2, rows).state_dict()
    classifier.load_state_dict(stored)
    try:
        BroadcastBuffersHook().before_train(SimpleNamespace(model=model))
    except RuntimeError as error:
        return str(error)
    # What the hook lets through can be trained.
    model(torch.ones(1, 4)).sum().backward()
    return ''


def test_weights_of_another_shape_are_an_error_of_several_processes(tmp_path):
    (tmp_path / 'same').mkdir()
    assert run_processes(_train_after_loading, tmp_path / 'same', 2) == ['', '']
    for problem in run_processes(_train_after_loading, tmp_path, 3):
        assert "['2.weight', '2.bias']" in problem and 'train in one process' in problem


def test_one_process_changes_nothing():
    assert _statistics_after(4, 'after_train')['running_mean'] == [5, 5]
