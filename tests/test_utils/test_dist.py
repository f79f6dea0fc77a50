import os

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import is_distributed
from processes import run_processes
from torch import distributed

from mmground.utils.dist import prepare_distributed_cpu

DDP = dict(
    type='MMDistributedDataParallel',
    broadcast_buffers=False,
    find_unused_parameters=False,
    device_ids=None,
)


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setattr('mmground.utils.dist.get_device', lambda: 'cpu')


@pytest.mark.parametrize(('launcher', 'device'), [('none', 'cpu'), ('pytorch', 'cuda')])
def test_leaves_one_process_and_gpus_to_the_runner(monkeypatch, launcher, device):
    monkeypatch.setattr('mmground.utils.dist.get_device', lambda: device)
    cfg = Config(dict(launcher=launcher))
    prepare_distributed_cpu(cfg)
    assert not is_distributed()
    assert 'model_wrapper_cfg' not in cfg


def _join(rank, folder):
    # The processes are joined already; the launcher's way is what is tested here.
    distributed.destroy_process_group()
    names = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, MASTER_ADDR='127.0.0.1')
    os.environ.update({name: str(value) for name, value in names.items()})
    set_device = torch.cuda.set_device
    dist_cfg = dict(backend='nccl', timeout=60, init_method=f'file://{folder}/joined')
    dist_cfg.update(rank=rank, world_size=2)
    cfg = Config(dict(launcher='pytorch', env_cfg=dict(dist_cfg=dist_cfg)))
    prepare_distributed_cpu(cfg)
    total = torch.tensor(rank + 1.0)
    distributed.all_reduce(total)
    return (
        distributed.get_backend(),
        total.item(),
        torch.cuda.set_device is set_device,
        dict(cfg.model_wrapper_cfg),
    )


def test_joins_the_processes_without_a_gpu(tmp_path):
    assert run_processes(_join, tmp_path, str(tmp_path)) == [('gloo', 3.0, True, DDP)] * 2


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (None, DDP),
        (dict(static_graph=True), dict(static_graph=True, device_ids=None)),
        (dict(type='MMFullyShardedDataParallel'), dict(type='MMFullyShardedDataParallel')),
    ],
)
def test_model_wrapper(monkeypatch, given, expected):
    monkeypatch.setattr('mmground.utils.dist.is_distributed', lambda: True)
    cfg = Config(dict(launcher='pytorch', model_wrapper_cfg=given))
    prepare_distributed_cpu(cfg)
    assert cfg.model_wrapper_cfg == expected
