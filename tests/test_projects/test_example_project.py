"""The example project: a module from outside, used through a config alone."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from mmground.datasets.grounding_shapes import generate
from mmground.registry import MODELS

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / 'projects' / 'example_project'
CONFIG = PROJECT / 'configs' / 'ppmn-gated-mean_r18-fpn_1xb16_shapes.py'


@pytest.fixture
def on_path(monkeypatch):
    """The project's package is importable, as PYTHONPATH makes it."""
    monkeypatch.syspath_prepend(str(PROJECT))


def _train(*options):
    main = runpy.run_path(str(ROOT / 'tools' / 'train.py'))['main']
    main([str(CONFIG), '--work-dir', 'work', *(('--cfg-options', *options) if options else ())])


def test_two_training_steps(on_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generate('data/shapes', formats=['png'], counts=dict(train=4, val=1), size=64, workers=1)
    _train(
        'train_cfg.max_iters=2',
        'param_scheduler.total_steps=2',
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'val_dataloader.num_workers=0',
        'val_dataloader.persistent_workers=False',
        'default_hooks.checkpoint.interval=1',
        'default_hooks.visualization.draw=False',
    )
    first, second = (
        torch.load(f'work/iter_{i}.pth', weights_only=False)['state_dict'] for i in (1, 2)
    )
    width = len(first['head.query_proj.weight'])
    for level in range(3):
        name = f'head.rounds.{level}.refinement.aggregation.gate.weight'
        assert first[name].shape == (width, width)
        assert not torch.equal(first[name], second[name]), 'it is trained'
    assert not [name for name in first if 'aggregation.attention' in name]


def test_without_the_package_the_error_names_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [path for path in sys.path if path != str(PROJECT)])
    for name in [name for name in sys.modules if name.split('.')[0] == 'example_project']:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match='example_project'):
        _train()


def test_gated_mean_by_hand(on_path):
    import example_project  # noqa: F401

    part = MODELS.build(dict(type='GatedMean', channels=4)).double()
    queries = torch.randn(3, 4, dtype=torch.float64)
    context = torch.randn(3, 5, 4, dtype=torch.float64)
    output = part(queries, context)
    for q, pixels, own in zip(queries, context, output, strict=True):
        total, gates = 0, 0
        for p in pixels:
            gate = torch.sigmoid(q @ (part.gate.weight @ p) / 2)
            total, gates = total + gate * p, gates + gate
        a = q + total / gates
        centred = a - a.mean()
        expected = centred / (centred.square().mean() + 1e-5).sqrt()
        torch.testing.assert_close(own, expected)
