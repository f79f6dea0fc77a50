import os
import sys
import uuid
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from tool_loader import load_tool

# A user's module, outside the repository: a line is fitted to 8 points, sample by sample.
TOY_MODULE = """
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch.utils.data import Dataset

from mmground.registry import DATASETS, HOOKS, METRICS, MODELS
from mmground.structures import GroundingDataSample


@DATASETS.register_module()
class ToyDataset(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        phrases = [dict(text='it', span=(0, 2))]
        sample = GroundingDataSample(metainfo=dict(sample_id=str(index), phrases=phrases))
        return dict(inputs=torch.tensor([index / 8]), data_samples=sample)


@MODELS.register_module()
class ToyModel(BaseModel):
    def __init__(self, width=1, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.line = torch.nn.Linear(width, 1)

    def forward(self, inputs, data_samples, mode):
        y = self.line(torch.stack(inputs))[:, 0]
        if mode == 'loss':
            return dict(loss=(y - 3).square().mean())
        for sample, score in zip(data_samples, y, strict=True):
            sample.pred_phrases = InstanceData(scores=score[None])
        return data_samples


@METRICS.register_module()
class ToyMetric(BaseMetric):
    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        self.results += [float(s['pred_phrases']['scores'][0]) for s in data_samples]

    def compute_metrics(self, results):
        return dict(mean=sum(results) / len(results), count=len(results))


@HOOKS.register_module()
class ToyVisualizationHook(Hook):
    calls = []

    def __init__(self, draw=False, show=False, test_out_dir=None):
        self.calls.append(dict(draw=draw, show=show, test_out_dir=test_out_dir))
"""

TOY_CONFIG = """
default_scope = 'mmground'
experiment_name = '{experiment}'
custom_imports = dict(imports=['{module}'])
model = dict(type='ToyModel')
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    dataset=dict(type='ToyDataset'),
    sampler=dict(type='InfiniteSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
)
test_dataloader = dict(
    batch_size=3,
    num_workers=0,
    dataset=dict(type='ToyDataset'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
test_cfg = dict()
test_evaluator = dict(type='ToyMetric')
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False),
    visualization=dict(type='ToyVisualizationHook'),
)
auto_scale_lr = dict(base_batch_size=8)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
"""


class MakeFolder:
    """Pickles to a call of ``os.mkdir``, as a malicious file would."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope='session')
def train() -> Callable:
    """``main`` of tools/train.py."""
    return load_tool('train')


@pytest.fixture(scope='session')
def test() -> Callable:
    """``main`` of tools/test.py."""
    return load_tool('test')


@pytest.fixture(scope='session')
def toy_module(tmp_path_factory):
    """The module of a toy system, importable by its name; registered once in a session."""
    folder = tmp_path_factory.mktemp('user_code')
    (folder / 'toy_grounding_system.py').write_text(TOY_MODULE)
    sys.path.insert(0, str(folder))
    yield SimpleNamespace(name='toy_grounding_system', folder=folder)
    sys.path.remove(str(folder))


@pytest.fixture
def evil_checkpoint(tmp_path) -> SimpleNamespace:
    """The toy model's weights in a file that makes ``folder`` when it is unpickled in full."""
    path, folder = tmp_path / 'evil.pth', tmp_path / 'made'
    weights = {'line.weight': torch.tensor([[2.0]]), 'line.bias': torch.tensor([1.0])}
    torch.save(dict(state_dict=weights, meta=dict(code=MakeFolder(folder))), path)
    return SimpleNamespace(path=str(path), folder=folder)


@pytest.fixture
def toy(toy_module, tmp_path, monkeypatch) -> SimpleNamespace:
    """A toy config in an otherwise empty working directory, away from the repository."""
    config = tmp_path / 'elsewhere' / 'toy.py'
    config.parent.mkdir()
    experiment = f'toy-{uuid.uuid4()}'  # MMEngine keeps loggers and so on by this name
    config.write_text(TOY_CONFIG.format(module=toy_module.name, experiment=experiment))
    working_directory = tmp_path / 'cwd'
    working_directory.mkdir()
    monkeypatch.chdir(working_directory)
    monkeypatch.setenv('LOCAL_RANK', '')  # so that it is put back afterwards
    monkeypatch.delenv('LOCAL_RANK')
    return SimpleNamespace(config=str(config), cwd=working_directory, module=toy_module)
