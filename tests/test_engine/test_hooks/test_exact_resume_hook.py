import copy
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import mmengine.runner.runner
import pytest
import torch
from mmengine.runner import EpochBasedTrainLoop
from tiny_training import ITERATIONS, ROOT, assert_same_end, tiny_config

from mmground.engine import ExactResumeHook
from mmground.utils.checkpoint import read_checkpoint
from mmground.utils.cli import build_runner

EMA = dict(type='EMAHook', momentum=0.2)


@pytest.fixture(autouse=True)
def _quick_start(monkeypatch):
    # It calls compilers.
    monkeypatch.setattr(mmengine.runner.runner, 'collect_env', dict)


def train(cfg, resume_from=None) -> dict:
    """Train, perhaps on from a checkpoint; returns the last checkpoint."""
    cfg = copy.deepcopy(cfg)
    if resume_from is not None:
        cfg.update(work_dir=f'{cfg.work_dir}_resumed_{resume_from.stem}', resume=True)
        cfg.update(load_from=str(resume_from), experiment_name=f'{cfg.experiment_name}-resumed')
    build_runner(cfg).train()
    torch.rand(3)  # whatever happens between trainings does not matter
    return read_checkpoint(f'{cfg.work_dir}/iter_{ITERATIONS}.pth')


def test_iterations(tmp_path):
    cfg = tiny_config(tmp_path)
    cfg.custom_hooks.append(EMA)
    cfg.optim_wrapper.accumulative_counts = 3
    straight = train(cfg)
    start = read_checkpoint(f'{cfg.work_dir}/iter_3.pth')
    moved = [
        name
        for name, weight in straight['state_dict'].items()
        if weight.is_floating_point() and not torch.equal(weight, start['state_dict'][name])
    ]
    assert len(moved) > 50, 'the rest of the training does something'
    assert straight['ema_state_dict'].keys() - {'steps'} == {
        f'module.{name}' for name in straight['state_dict']
    }
    assert_same_end(train(cfg, tmp_path / 'work/iter_3.pth'), straight)


def test_epochs(tmp_path):
    cfg = tiny_config(tmp_path, by_epoch=True)
    straight = train(cfg)
    # The end of an epoch, and within one: MMEngine's loop would start it over. After
    # iteration 3 the first epoch has nothing left to do but to end.
    for name in ('epoch_1', 'iter_2', 'iter_3', 'iter_5'):
        assert_same_end(train(cfg, tmp_path / f'work/{name}.pth'), straight)


def test_flexible_runner(tmp_path):
    cfg = tiny_config(tmp_path, runner_type='FlexibleRunner')
    straight = train(cfg)
    assert_same_end(train(cfg, tmp_path / 'work/iter_3.pth'), straight)


@pytest.mark.parametrize('part', ['ExactResumeHook', 'SeededInfiniteSampler'])
def test_without_its_parts_the_training_ends_elsewhere(tmp_path, part):
    # What the tests above depend on: dropout is on, pictures are mirrored at random.
    cfg = tiny_config(tmp_path)
    if part == 'ExactResumeHook':
        cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook['type'] != part]
    else:
        cfg.train_dataloader.sampler.type = 'InfiniteSampler'
        cfg.model.text_encoder.dropout = 0.0
        cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook['type'] != 'ExactResumeHook']
    straight = train(cfg)['state_dict']
    resumed = train(cfg, tmp_path / 'work/iter_3.pth')['state_dict']
    name = 'head.query_proj.weight'
    assert not torch.equal(resumed[name], straight[name])


def test_after_a_kill_with_workers(tmp_path):
    (tmp_path / 'killer.py').write_text(
        'import os, signal\n'
        'from mmengine.hooks import Hook\n'
        'from mmground.registry import HOOKS\n\n\n'
        '@HOOKS.register_module()\n'
        'class KillerHook(Hook):\n'
        '    def before_train_iter(self, runner, *args, **kwargs):\n'
        '        if runner.iter == 4:\n'
        '            os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    cfg = tiny_config(tmp_path)
    straight = train(cfg)
    cfg.work_dir = str(tmp_path / 'killed')
    cfg.train_dataloader.num_workers = 2
    config = tmp_path / 'killed.py'
    killed = copy.deepcopy(cfg)
    killed.custom_hooks.append(dict(type='KillerHook'))
    killed.custom_imports = dict(imports=['killer'])
    killed.dump(config)
    # Into a file: the workers, which notice after some seconds, would keep a pipe open.
    with open(tmp_path / 'output.txt', 'w') as output:
        done = subprocess.run(
            [sys.executable, ROOT / 'tools/train.py', config],
            env={
                **os.environ,
                'PYTHONPATH': f'{ROOT}{os.pathsep}{tmp_path}',
                # Sums depend on the number of threads, bit for bit.
                'OMP_NUM_THREADS': str(torch.get_num_threads()),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    assert done.returncode == -signal.SIGKILL, (tmp_path / 'output.txt').read_text()
    assert (tmp_path / 'killed/last_checkpoint').read_text().endswith('iter_4.pth')
    cfg.update(resume=True, experiment_name='after-the-kill')
    build_runner(cfg).train()
    assert_same_end(read_checkpoint(f'{cfg.work_dir}/iter_{ITERATIONS}.pth'), straight)


class Loader(SimpleNamespace):
    def __len__(self):
        return 3


def _runner(sampler, iterations=4, epoch=0, resume=True, **optim_wrapper):
    loader = Loader(sampler=sampler, batch_size=2)
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    return SimpleNamespace(
        _resume=resume,
        _randomness_cfg=dict(seed=7),
        seed=7,
        rank=0,
        iter=iterations,
        epoch=epoch,
        train_loop=loop,
        train_dataloader=loader,
        optim_wrapper=SimpleNamespace(**optim_wrapper),
    )


@pytest.fixture
def messages(monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmground.engine.hooks.exact_resume_hook.print_log',
        lambda message, **kwargs: messages.append(message),
    )
    return messages


def test_what_it_cannot_resume_is_said(messages):
    def resume(runner):
        hook = ExactResumeHook()
        hook.before_train(runner)
        hook.before_train_epoch(runner)
        hook.before_train_epoch(runner)  # of the next epoch: nothing to say
        return messages.pop() if messages else None

    class Sampler:
        seed = 1

        def resume_at(self, num_samples):
            self.start = num_samples

    sampler = Sampler()
    assert 'Epoch 2 goes on after 1 of 3' in resume(_runner(sampler, 4, epoch=1))
    assert sampler.start == 2 and sampler.seed == 7
    assert resume(_runner(object(), 3, epoch=1)) is None
    assert 'object cannot start at iteration 1' in resume(_runner(object(), 4, epoch=1))
    assert 'data or batch size have changed' in resume(_runner(sampler, 4, epoch=0))
    lost = resume(_runner(object(), 3, epoch=1, _accumulative_counts=2))
    assert 'the first 1 of which are lost' in lost
    assert resume(_runner(object(), 4, epoch=1, resume=False)) is None
