import os
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


def run(tmp_path, script, *arguments, **environment) -> subprocess.CompletedProcess:
    """Run a script with a torchrun and an srun that print their arguments."""
    for name in ('torchrun', 'srun'):
        stub = tmp_path / name
        stub.write_text(
            '#!/usr/bin/env bash\necho "$PYTHONPATH"\nprintf "%s\\n" "$@" $MASTER_PORT\n'
        )
        stub.chmod(0o755)
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    return subprocess.run(
        ['bash', REPO / 'tools' / script, *arguments],
        cwd=tmp_path,
        env={'PATH': path, **environment},
        capture_output=True,
        text=True,
    )


def test_train_on_one_machine(tmp_path):
    done = run(tmp_path, 'dist_train.sh', 'my config.py', '4', '--amp')
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(REPO),
        '--nnodes=1',
        '--node-rank=0',
        '--master-addr=127.0.0.1',
        '--master-port=29500',
        '--nproc-per-node=4',
        str(REPO / 'tools' / 'train.py'),
        '--launcher',
        'pytorch',
        'my config.py',
        '--amp',
    ]


def test_test_on_several_machines(tmp_path):
    machines = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1', PORT='1234')
    arguments = ('c.py', 'x.pth', '8', '--out', 'r.pkl')
    done = run(tmp_path, 'dist_test.sh', *arguments, PYTHONPATH='/mine', **machines)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f'{REPO}:/mine',
        '--nnodes=2',
        '--node-rank=1',
        '--master-addr=10.0.0.1',
        '--master-port=1234',
        '--nproc-per-node=8',
        str(REPO / 'tools' / 'test.py'),
        '--launcher',
        'pytorch',
        'c.py',
        'x.pth',
        '--out',
        'r.pkl',
    ]


def test_train_with_slurm(tmp_path):
    done = run(tmp_path, 'slurm_train.sh', 'gpu', 'my job', 'my config.py', '--resume')
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(REPO),
        '--partition=gpu',
        '--job-name=my job',
        '--gres=gpu:8',
        '--ntasks=8',
        '--ntasks-per-node=8',
        '--cpus-per-task=5',
        '--kill-on-bad-exit=1',
        'python',
        '-u',
        str(REPO / 'tools' / 'train.py'),
        '--launcher',
        'slurm',
        'my config.py',
        '--resume',
        '29500',
    ]


@pytest.mark.parametrize(('gpus', 'per_node'), [('4', '4'), ('16', '8')])
def test_test_with_slurm(tmp_path, gpus, per_node):
    variables = dict(
        GPUS=gpus, CPUS_PER_TASK='2', PORT='1234', SRUN_ARGS='--time=1:00 --exclude=n1'
    )
    arguments = ('gpu', 'job', 'c.py', 'x.pth', '--out', 'r.pkl')
    done = run(tmp_path, 'slurm_test.sh', *arguments, **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(REPO),
        '--partition=gpu',
        '--job-name=job',
        f'--gres=gpu:{per_node}',
        f'--ntasks={gpus}',
        f'--ntasks-per-node={per_node}',
        '--cpus-per-task=2',
        '--kill-on-bad-exit=1',
        '--time=1:00',
        '--exclude=n1',
        'python',
        '-u',
        str(REPO / 'tools' / 'test.py'),
        '--launcher',
        'slurm',
        'c.py',
        'x.pth',
        '--out',
        'r.pkl',
        '1234',
    ]


@pytest.mark.parametrize(
    'script', sorted((REPO / 'tools').rglob('*.sh')), ids=lambda path: path.name
)
def test_syntax(script):
    subprocess.run(['bash', '-n', script], check=True)


@pytest.mark.parametrize(
    ('script', 'arguments'),
    [
        ('dist_train.sh', ['c.py']),
        ('dist_test.sh', ['c.py', 'x.pth']),
        ('slurm_train.sh', ['gpu', 'job']),
        ('slurm_test.sh', ['gpu', 'job', 'c.py']),
    ],
)
def test_usage(tmp_path, script, arguments):
    done = run(tmp_path, script, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith('usage: ')
