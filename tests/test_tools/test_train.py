import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPO = Path(__file__).parents[2]


def weight(path) -> float:
    return torch.load(path, weights_only=False)['state_dict']['line.weight'].item()


def expected_weights(lr: float, iterations: int) -> list[float]:
    """The toy model's weights by hand: SGD on the mean of (w x + b - 3)^2, 4 of 8 points a time."""
    w, b = torch.tensor(0.5), torch.tensor(0.25)
    weights = []
    for iteration in range(iterations):
        x = (torch.arange(4) + 4 * (iteration % 2)) / 8
        residual = w * x + b - 3
        w, b = w - lr * (2 * residual * x).mean(), b - lr * (2 * residual).mean()
        weights.append(w.item())
    return weights


@pytest.fixture
def start(toy, tmp_path):
    """Arguments that make the toy model start from known weights."""
    path = tmp_path / 'start.pth'
    weights = {'line.weight': torch.tensor([[0.5]]), 'line.bias': torch.tensor([0.25])}
    torch.save(dict(state_dict=weights, meta=dict()), path)
    return ['--cfg-options', f'load_from={path}']


def test_trains_into_the_default_work_dir(toy, train, start):
    train([toy.config, *start])
    work_dir = toy.cwd / 'work_dirs' / 'toy'
    for iteration, expected in enumerate(expected_weights(lr=0.1, iterations=2), start=1):
        assert weight(work_dir / f'iter_{iteration}.pth') == pytest.approx(expected, rel=1e-5)
    assert (work_dir / 'toy.py').is_file(), 'the config is kept beside the checkpoints'


def test_work_dir_and_cfg_options(toy, train, start):
    train([toy.config, '--work-dir', 'here', *start, 'train_cfg.max_iters=1'])
    assert sorted(path.name for path in (toy.cwd / 'here').glob('*.pth')) == ['iter_1.pth']
    assert not (toy.cwd / 'work_dirs').exists()


def test_work_dir_of_the_config(toy, train, start):
    train([toy.config, *start, 'work_dir=by_config', 'train_cfg.max_iters=1'])
    assert (toy.cwd / 'by_config' / 'iter_1.pth').is_file()


@pytest.mark.parametrize('how', ['latest', 'path'])
def test_resume_continues_where_training_stopped(toy, train, start, how):
    train([toy.config, *start])
    resume = ['--resume'] if how == 'latest' else ['--resume', 'work_dirs/toy/iter_2.pth']
    more = ['--cfg-options', 'train_cfg.max_iters=4', 'experiment_name=resumed']
    train([toy.config, *resume, *more])
    work_dir = toy.cwd / 'work_dirs' / 'toy'
    expected = expected_weights(lr=0.1, iterations=4)
    assert weight(work_dir / 'iter_4.pth') == pytest.approx(expected[-1], rel=1e-5)
    assert (work_dir / 'last_checkpoint').read_text().endswith('iter_4.pth')


def test_auto_scale_lr(toy, train, start):
    # A batch of 4 where the learning rate was chosen for 8: half of it.
    train([toy.config, '--auto-scale-lr', *start])
    expected = expected_weights(lr=0.05, iterations=2)
    assert weight('work_dirs/toy/iter_2.pth') == pytest.approx(expected[-1], rel=1e-5)


def test_auto_scale_lr_needs_a_base_batch_size(toy, train, capsys):
    with open(toy.config, 'a') as config:
        config.write('\ndel auto_scale_lr\n')
    with pytest.raises(SystemExit) as stop:
        train([toy.config, '--auto-scale-lr'])
    assert stop.value.code == 2
    assert 'no auto_scale_lr.base_batch_size' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('device', 'wrapper'), [('cuda', 'AmpOptimWrapper'), ('cpu', 'CPUAmpOptimWrapper')]
)
def test_amp_replaces_the_optimizer_wrapper(toy, train, monkeypatch, device, wrapper):
    built = []

    class Runner:
        def register_hook(self, hook):
            pass

        def train(self):
            pass

    def build_runner(cfg):
        built.append(cfg)
        return Runner()

    monkeypatch.setitem(train.__globals__, 'get_device', lambda: device)
    monkeypatch.setitem(train.__globals__, 'build_runner', build_runner)
    train([toy.config, '--amp'])
    assert built[0].optim_wrapper.type == wrapper
    assert built[0].optim_wrapper.get('loss_scale') == ('dynamic' if device == 'cuda' else None)
    assert built[0].optim_wrapper.optimizer.type == 'SGD'
    with pytest.raises(SystemExit):
        train([toy.config, '--amp', '--cfg-options', 'optim_wrapper.type=MyOptimWrapper'])
    train([toy.config, '--amp', '--cfg-options', 'optim_wrapper.dtype=bfloat16'])
    assert built[-1].optim_wrapper.get('dtype') == ('bfloat16' if device == 'cuda' else None)


def test_mixed_precision_on_the_cpu_is_bfloat16(toy, train, monkeypatch, capsys):
    monkeypatch.setitem(train.__globals__, 'get_device', lambda: 'cpu')
    with pytest.raises(SystemExit):
        train([toy.config, '--amp', '--cfg-options', 'optim_wrapper.dtype=float16'])
    assert 'mixed precision on the CPU is bfloat16' in capsys.readouterr().err


def test_missing_files_are_one_error(toy, train, capsys):
    for argv, message in (
        (['nowhere.py'], f'config file does not exist: nowhere.py (looked for in {toy.cwd})'),
        ([str(toy.cwd)], f'config file is a folder: {toy.cwd}'),
        ([toy.config, '--resume', '/no/x.pth'], 'checkpoint does not exist: /no/x.pth'),
    ):
        with pytest.raises(SystemExit) as stop:
            train(argv)
        assert stop.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1].endswith(message)


@pytest.mark.parametrize('how', ['load_from', 'resume', 'pretrained'])
def test_code_in_a_checkpoint_does_not_run(toy, train, evil_checkpoint, how):
    argv = [toy.config, '--cfg-options', 'train_cfg.max_iters=1']
    if how == 'load_from':
        argv += [f'load_from={evil_checkpoint.path}']
    elif how == 'resume':
        argv += ['--resume', evil_checkpoint.path]
    else:
        argv += [
            'model.init_cfg.type=Pretrained',
            f'model.init_cfg.checkpoint={evil_checkpoint.path}',
        ]
    with pytest.raises(ValueError, match=r'evil\.pth .*--trust-checkpoint'):
        train(argv)
    assert not evil_checkpoint.folder.exists()
    if how != 'resume':  # its file has no state of a training
        train([*argv, '--trust-checkpoint'])
        assert evil_checkpoint.folder.exists()


def test_a_config_in_a_resumed_checkpoint_does_not_run(toy, train, start, tmp_path):
    train([toy.config, *start])
    path, folder = tmp_path / 'config.pth', tmp_path / 'made'
    checkpoint = torch.load('work_dirs/toy/iter_2.pth', weights_only=False)
    checkpoint['meta']['config'] = f'import os\nos.mkdir({str(folder)!r})'
    torch.save(checkpoint, path)
    more = ['--cfg-options', 'train_cfg.max_iters=3', 'experiment_name=more']
    train([toy.config, '--resume', str(path), *more])
    assert not folder.exists()
    assert Path('work_dirs/toy/iter_3.pth').is_file()


def test_weights_of_another_model_are_refused(toy, train, start, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict={'encoder.weight': torch.ones(1, 1)}), path)
    with pytest.raises(ValueError, match=r'other\.pth has no weight of the model.*encoder\.weight'):
        train([toy.config, '--cfg-options', f'load_from={path}'])
    # A part of the weights is enough to start from, but not to resume.
    torch.save(dict(state_dict={'line.weight': torch.ones(1, 1)}), path)
    train([toy.config, '--cfg-options', f'load_from={path}', 'train_cfg.max_iters=1'])
    with pytest.raises(ValueError, match=r'other\.pth does not fit the model(.|\n)*line\.bias'):
        train([toy.config, '--resume', str(path)])
    with pytest.raises(ValueError, match=r'start\.pth has weights but no state.*load_from'):
        train([toy.config, '--resume', str(tmp_path / 'start.pth')])


@pytest.mark.parametrize('damage', ['empty', 'truncated'])
def test_damaged_checkpoints_are_one_error(toy, train, test, evil_checkpoint, damage):
    data = Path(evil_checkpoint.path).read_bytes()
    Path('broken.pth').write_bytes(data[:700] if damage == 'truncated' else b'')
    for tool, argv in (
        (train, ['--resume', 'broken.pth']),
        (train, ['--cfg-options', 'load_from=broken.pth']),
        (test, ['broken.pth']),
    ):
        with pytest.raises(ValueError, match=r'checkpoint broken\.pth cannot be read, it is'):
            tool([toy.config, *argv])


def test_as_a_process_away_from_the_repository(toy):
    path = os.pathsep.join(
        [str(REPO), str(toy.module.folder), *os.environ.get('PYTHONPATH', '').split(os.pathsep)]
    )
    done = subprocess.run(
        [sys.executable, REPO / 'tools' / 'train.py', toy.config],
        env={**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (toy.cwd / 'work_dirs' / 'toy' / 'iter_2.pth').is_file()


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_wrong_input_is_one_line(toy, tmp_path, tool):
    checkpoint = tmp_path / 'other.pth'
    torch.save(dict(state_dict={'elsewhere.weight': torch.ones(1)}), checkpoint)
    path = os.pathsep.join(
        [str(REPO), str(toy.module.folder), *os.environ.get('PYTHONPATH', '').split(os.pathsep)]
    )
    argv = [str(checkpoint)] if tool == 'test' else ['--cfg-options', f'load_from={checkpoint}']
    done = subprocess.run(
        [sys.executable, REPO / 'tools' / f'{tool}.py', toy.config, *argv],
        env={**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    error = done.stderr[done.stderr.rindex('error: ') :]
    assert error.startswith(f'error: the checkpoint {checkpoint} ')


def test_settings_without_effect_are_told(toy, train, start, capsys, monkeypatch):
    with pytest.raises(SystemExit) as stop:
        train([toy.config, '--cfg-options', 'trian_cfg.max_iters=1'])
    assert stop.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert 'trian_cfg.max_iters' in error and error.endswith('did you mean train_cfg?')
    with open(toy.config, 'a') as config:
        config.write('\nrounds = 1\ntrain_cfg = dict(train_cfg, max_iters=rounds)\n')
    warned = []
    monkeypatch.setattr(
        'mmground.utils.config_options.print_log', lambda text, **_: warned.append(text)
    )
    train([toy.config, *start, 'rounds=3'])
    assert len(warned) == 1 and warned[0].startswith('rounds is a variable of the config')
    assert 'train_cfg.max_iters' in warned[0]


def test_missing_initial_weights_are_told_before_anything_else(toy, train):
    options = ['model.init_cfg.type=Pretrained', 'model.init_cfg.checkpoint=work_dirs/a/iter_1.pth']
    match = (
        r'^work_dirs/a/iter_1\.pth, .* model\.init_cfg\.checkpoint names, does not exist: train or '
        'convert it first, see the comment at the top of the config'
    )
    with pytest.raises(FileNotFoundError, match=match):
        train([toy.config, '--cfg-options', *options])
    assert not (toy.cwd / 'work_dirs').exists()
