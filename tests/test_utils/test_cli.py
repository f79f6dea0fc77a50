import argparse
import os

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from torch import nn

from mmground.datasets.refer_api import resolve_splits
from mmground.utils.checkpoint import load_weights, read_checkpoint
from mmground.utils.cli import (
    ExactWeightsHook,
    SharedWeightsHook,
    add_runner_arguments,
    build_runner,
    check_device,
    check_initial_weights,
    is_local_path,
    load_config,
    run_tool,
)


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    add_runner_arguments(parser)
    return parser


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '')  # so that it is put back afterwards
    monkeypatch.delenv('LOCAL_RANK')
    path = tmp_path / 'my.config.py'
    path.write_text("a = dict(b=1, c=['x', 'y'])\n")
    return str(path)


def test_options_override_the_config(parser, config):
    args = parser.parse_args(
        [config, '--launcher=pytorch', '--cfg-options', 'a.b=2', 'a.c=[u,v,w]', 'randomness.seed=3']
    )
    cfg = load_config(parser, args)
    assert cfg.a == dict(b=2, c=['u', 'v', 'w'])
    assert cfg.randomness == dict(seed=3)
    assert cfg.launcher == 'pytorch'


@pytest.mark.parametrize(
    ('argv', 'expected'),
    [
        ([], 'work_dirs/my.config'),
        (['--cfg-options', 'work_dir=of_config'], 'of_config'),
        (['--cfg-options', 'work_dir=of_config', '--work-dir', 'of_argument'], 'of_argument'),
    ],
)
def test_work_dir(parser, config, argv, expected):
    assert load_config(parser, parser.parse_args([config, *argv])).work_dir == expected


@pytest.mark.parametrize('spelling', ['--local_rank', '--local-rank'])
def test_local_rank_reaches_the_environment(parser, config, spelling):
    load_config(parser, parser.parse_args([config, f'{spelling}=3']))
    assert os.environ['LOCAL_RANK'] == '3'
    load_config(parser, parser.parse_args([config, f'{spelling}=1']))
    assert os.environ['LOCAL_RANK'] == '3', "the launcher's own value stays"


def test_local_paths():
    assert is_local_path('work_dirs/a/best.pth') and is_local_path('/a.pth')
    assert not is_local_path('https://host/a.pth') and not is_local_path('torchvision://resnet18')


def test_runner_type_chooses_the_runner():
    @RUNNERS.register_module(force=True)
    class RunnerOfTest:
        def __init__(self, cfg):
            self.cfg = cfg

        @classmethod
        def from_cfg(cls, cfg):
            return cls(cfg)

    try:
        cfg = Config(dict(runner_type='RunnerOfTest', x=1))
        runner = build_runner(cfg)
        assert type(runner) is RunnerOfTest
        assert runner.cfg.x == 1
    finally:
        RUNNERS.module_dict.pop('RunnerOfTest')


class FakeRunner:
    model = nn.Linear(2, 1)
    _load_from = 'some.pth'
    _resume = False


def test_exact_weights_hook_accepts_the_weights_of_the_model():
    runner = FakeRunner()
    weights = {name: value + 1 for name, value in runner.model.state_dict().items()}
    ExactWeightsHook().after_load_checkpoint(runner, dict(state_dict=weights))
    ExactWeightsHook().after_load_checkpoint(runner, weights)


@pytest.mark.parametrize(
    'other', [nn.Linear(3, 1), nn.Linear(2, 1, bias=False), nn.Sequential(nn.Linear(2, 1))]
)
def test_exact_weights_hook_refuses_others(other):
    with pytest.raises(ValueError, match=r'some\.pth does not fit the model'):
        ExactWeightsHook().after_load_checkpoint(FakeRunner(), dict(state_dict=other.state_dict()))


def test_shared_weights_hook_wants_one_weight_of_the_model():
    weight = torch.ones(1, 2)
    SharedWeightsHook().after_load_checkpoint(FakeRunner(), dict(weight=weight, other=weight))
    for other in (dict(weight=torch.ones(1, 3)), {'head.weight': weight}):
        with pytest.raises(ValueError, match=r'some\.pth has no weight of the model'):
            SharedWeightsHook().after_load_checkpoint(FakeRunner(), dict(state_dict=other))


def test_only_the_command_line_trusts_checkpoints(parser, config):
    with open(config, 'a') as file:
        file.write('trust_checkpoint = True')
    for argv, expected in (
        ([], False),
        (['--cfg-options', 'trust_checkpoint=True'], False),
        (['--trust-checkpoint'], True),
    ):
        cfg = load_config(parser, parser.parse_args([str(config), *argv]))
        assert cfg.trust_checkpoint is expected


def test_wrong_input_is_one_line():
    for wrong, message in (
        (lambda: resolve_splits('refcoco', 'nowhere'), "error: refcoco has no split 'nowhere'"),
        (lambda: load_weights(nn.Linear(1, 1), dict(state_dict={}), 'x.pth'), r'error: .*x\.pth'),
        (lambda: read_checkpoint('no.pth'), r'error: .*no\.pth'),
    ):
        with pytest.raises(SystemExit, match=message) as stop:
            run_tool(wrong)
        assert stop.value.__cause__ is not None
    done = []
    run_tool(lambda: done.append(1))
    assert done == [1]


def test_unexpected_errors_keep_their_traceback():
    def unpack():
        _, _ = (1, 2, 3)

    def refuse():
        raise ValueError('of another library')

    for unexpected, message in (
        (lambda: int('x'), 'invalid literal'),
        (unpack, 'unpack'),
        (refuse, 'of another library'),
        # Within mmground, but not raised by it.
        (lambda: resolve_splits('refcoco', 5), None),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            run_tool(unexpected)


def test_devices(parser, capsys):
    check_device(parser, None)
    check_device(parser, 'cpu')
    names = ['nothing', *([] if torch.cuda.is_available() else ['cuda', 'cuda:1'])]
    for name in names:
        with pytest.raises(SystemExit) as stop:
            check_device(parser, name)
        assert stop.value.code == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert f'--device {name} cannot be used: ' in last


def test_initial_weights_of_every_part(tmp_path):
    there = tmp_path / 'there.pth'
    there.touch()

    def pretrained(path, **parts):
        return dict(init_cfg=dict(type='Pretrained', checkpoint=str(path)), **parts)

    fine = dict(
        # The part's file has all that is in it.
        backbone=pretrained(there, block=pretrained('no.pth')),
        text_encoder=pretrained('https://host/no.pth'),
        head=dict(init_cfg=[dict(type='Normal', layer='Linear')]),
        localisers=dict(box=dict(detector=dict(backbone=pretrained('no.pth')))),
    )
    check_initial_weights(Config(dict(model=fine)))
    for changes, key in (
        (dict(backbone=pretrained('no.pth')), 'model.backbone'),
        (dict(neck=[dict(), pretrained('no.pth')]), 'model.neck.1'),
    ):
        with pytest.raises(FileNotFoundError, match=rf'^no\.pth, .* {key}\.init_cfg\.checkpoint '):
            check_initial_weights(Config(dict(model=dict(fine, **changes))))
