"""Two processes of the launch scripts on the CPU, as a user starts them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from processes import run_processes
from tiny_training import ROOT, assert_same_end, tiny_config

from mmground.utils.checkpoint import read_checkpoint

ITERATIONS = 3

# What each process ends with, and a process that is killed. A user's module, outside the
# repository. It is imported before the processes join, so that its function is called after they
# have parted.
HOOKS = """
import atexit
import os
import signal
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmground.registry import HOOKS


@atexit.register
def list_threads():
    names = [path.read_text() for path in Path('/proc/self/task').glob('*/comm')]
    Path(__file__).with_name(f'threads_of_{os.getpid()}').write_text(''.join(names))


@HOOKS.register_module()
class KeepWeightsHook(Hook):
    priority = 'LOWEST'

    def after_train(self, runner):
        path = f'{runner.work_dir}/rank_{runner.rank}.pth'
        torch.save(dict(world_size=runner.world_size, **runner.model.module.state_dict()), path)


@HOOKS.register_module()
class KillerHook(Hook):
    def before_train_iter(self, runner, *args, **kwargs):
        # The process that has written the checkpoint of the iteration before.
        if runner.iter == 2 and runner.rank == 0:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def launch(folder: Path, script: str, *arguments, killed: bool = False) -> None:
    """Run a script of tools/ with the torchrun that belongs to this interpreter."""
    torchrun = folder / 'bin/torchrun'
    torchrun.parent.mkdir(exist_ok=True)
    torchrun.write_text(f'#!/bin/sh\nexec {sys.executable} -m torch.distributed.run "$@"\n')
    torchrun.chmod(0o755)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    done = subprocess.run(
        ['bash', ROOT / 'tools' / script, *map(str, arguments)],
        env={
            **os.environ,
            'PATH': f'{torchrun.parent}{os.pathsep}{os.environ["PATH"]}',
            'PYTHONPATH': os.pathsep.join([str(folder), os.environ.get('PYTHONPATH', '')]),
            'PORT': port,
            'CUDA_VISIBLE_DEVICES': '-1',
            'OMP_NUM_THREADS': '1',
        },
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) is not killed, done.stderr[-4000:]
    assert ('SIGKILL' in done.stderr) is killed, done.stderr[-4000:]


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> SimpleNamespace:
    """A training of three iterations on two processes, and its validation."""
    folder = tmp_path_factory.mktemp('distributed')
    (folder / 'user_hooks.py').write_text(HOOKS)
    cfg = tiny_config(folder, custom_imports=dict(imports=['user_hooks']))
    cfg.custom_hooks.append(dict(type='KeepWeightsHook'))
    cfg.train_cfg.update(max_iters=ITERATIONS, val_interval=ITERATIONS)
    cfg.train_dataloader.batch_size = 1
    cfg.default_hooks.logger.interval = 1
    cfg.update(val_dataloader=cfg.test_dataloader, val_evaluator=cfg.test_evaluator)
    cfg.val_cfg = dict(type='ValLoop')
    cfg.dump(folder / 'config.py')
    launch(folder, 'dist_train.sh', folder / 'config.py', 2)
    return SimpleNamespace(folder=folder, config=folder / 'config.py', work=folder / 'work')


def process_weights(work_dir: Path, rank: int) -> dict:
    """What a process ended with."""
    return torch.load(work_dir / f'rank_{rank}.pth', weights_only=True)


def metrics(work_dir: Path) -> dict:
    """The values of the one evaluation in a folder."""
    (log,) = work_dir.glob('*/*.json')
    return json.loads(log.read_text())


def test_both_processes_end_with_the_same_weights(trained):
    first, second = (process_weights(trained.work, rank) for rank in range(2))
    assert first.pop('world_size') == second.pop('world_size') == 2
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(second[name], weight), name
    saved = read_checkpoint(trained.work / 'iter_1.pth')['state_dict']
    name = 'head.query_proj.weight'
    assert not torch.equal(saved[name], first[name]), 'the other iterations change them'
    log = next(trained.work.glob('*/vis_data/scalars.json')).read_text().splitlines()
    losses = [json.loads(line)['loss'] for line in log if 'loss"' in line]
    assert len(losses) == ITERATIONS and all(0 < loss < 100 for loss in losses)


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux lists the threads of a process')
def test_no_thread_of_the_group_outlives_the_program(trained):
    """One that does may abort, and a launcher then reports that the program failed."""
    threads = [path.read_text() for path in trained.folder.glob('threads_of_*')]
    assert len(threads) == 2
    assert not any('gloo' in names for names in threads)


def _train(rank: int, train, command: list[str]) -> None:
    os.environ.update(LOCAL_RANK=str(rank), CUDA_VISIBLE_DEVICES='-1')
    train(command)


def test_killed_and_resumed_it_ends_where_it_would_have_ended(
    trained, train, tmp_path, monkeypatch
):
    work = trained.folder / 'killed'
    cfg = Config.fromfile(trained.config, import_custom_modules=False)
    cfg.custom_hooks.append(dict(type='KillerHook'))
    cfg.dump(trained.folder / 'killed.py')
    options = ('--work-dir', work, '--resume')
    # There is nothing to resume yet: a job may always be started with the same command.
    launch(trained.folder, 'dist_train.sh', trained.folder / 'killed.py', 2, *options, killed=True)
    assert (work / 'last_checkpoint').read_text().endswith('iter_2.pth')
    # Processes that are forked save the time of their imports.
    monkeypatch.syspath_prepend(trained.folder)
    command = [str(trained.config), '--launcher', 'pytorch', *map(str, options)]
    # As if no seed had been given: it stands in the checkpoint.
    command += ['--cfg-options', 'randomness.seed=None']
    for outcome in run_processes(_train, tmp_path, train, command):
        assert outcome is None, outcome
    name = f'iter_{ITERATIONS}.pth'
    assert_same_end(read_checkpoint(work / name), read_checkpoint(trained.work / name))
    for rank in range(2):
        resumed, straight = (process_weights(path, rank) for path in (work, trained.work))
        assert resumed.pop('world_size') == straight.pop('world_size') == 2
        assert_same_end(dict(state_dict=resumed), dict(state_dict=straight))


def test_evaluation_does_not_depend_on_the_number_of_processes(trained, test, monkeypatch):
    checkpoint = trained.work / f'iter_{ITERATIONS}.pth'
    out = trained.folder / 'two'
    # Five narratives: one comes twice.
    launch(trained.folder, 'dist_test.sh', trained.config, checkpoint, 2, '--work-dir', out)
    two = metrics(out)
    monkeypatch.syspath_prepend(trained.folder)
    monkeypatch.setenv('LOCAL_RANK', '')  # so that it is put back afterwards
    monkeypatch.delenv('LOCAL_RANK')
    monkeypatch.setattr('mmengine.runner.runner.get_device', lambda: 'cpu')
    options = ['--cfg-options', 'experiment_name=one-process']
    one = test(
        [str(trained.config), str(checkpoint), '--work-dir', str(trained.folder / 'one'), *options]
    )
    names = {name for name in one if name.startswith('png/')}
    assert len(names) > 10
    expected = {name: one[name] for name in names}
    actual = {name: two[name] for name in names}
    assert actual == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert one['png/num_phrases'] > 5
