import sys

import pytest
import torch

from mmground.evaluation import DumpedResults


@pytest.fixture
def checkpoint(tmp_path) -> str:
    """Weights of y = 2 x + 1; over the 8 points x = 0 .. 7/8 the mean of y is 1.875."""
    path = tmp_path / 'line.pth'
    weights = {'line.weight': torch.tensor([[2.0]]), 'line.bias': torch.tensor([1.0])}
    torch.save(dict(state_dict=weights, meta=dict()), path)
    return str(path)


def test_evaluates_the_checkpoint(toy, test, checkpoint):
    assert test([toy.config, checkpoint]) == {'toy/mean': pytest.approx(1.875), 'toy/count': 8}
    assert (toy.cwd / 'work_dirs' / 'toy').is_dir()


def test_work_dir_and_cfg_options(toy, test, checkpoint):
    argv = [toy.config, checkpoint, '--work-dir', 'here']
    test([*argv, '--cfg-options', 'test_evaluator.prefix=other'])
    results = list((toy.cwd / 'here').glob('*/*.json'))
    assert len(results) == 1
    assert '"other/mean": 1.875' in results[0].read_text()


def test_out_holds_every_prediction(toy, test, checkpoint):
    test([toy.config, checkpoint, '--out', 'results.jsonl.gz'])
    results = list(DumpedResults(toy.cwd / 'results.jsonl.gz'))
    assert [result.sample_id for result in results] == [str(index) for index in range(8)]
    scores = [result.pred_phrases.scores.item() for result in results]
    assert scores == pytest.approx([1 + index / 4 for index in range(8)])


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ([], dict(draw=False, show=False, test_out_dir=None)),
        (['--show'], dict(draw=True, show=True, test_out_dir=None)),
        (['--show-dir', 'seen'], dict(draw=True, show=False, test_out_dir='seen')),
    ],
)
def test_show_switches_the_visualization_hook_on(toy, test, checkpoint, options, expected):
    test([toy.config, checkpoint, *options])
    assert sys.modules[toy.module.name].ToyVisualizationHook.calls[-1] == expected


def test_show_needs_a_visualization_hook(toy, test, checkpoint, capsys):
    with open(toy.config, 'a') as config:
        config.write("\ndel default_hooks['visualization']\n")
    with pytest.raises(SystemExit):
        test([toy.config, checkpoint, '--show-dir', 'seen'])
    assert 'no default_hooks.visualization' in capsys.readouterr().err


def test_weights_of_another_model_are_refused(toy, test, checkpoint):
    with pytest.raises(ValueError, match=r'line\.pth does not fit the model(.|\n)*size mismatch'):
        test([toy.config, checkpoint, '--cfg-options', 'model.width=2'])


def test_code_in_a_checkpoint_does_not_run(toy, test, evil_checkpoint):
    with pytest.raises(ValueError, match=r'evil\.pth .*--trust-checkpoint'):
        test([toy.config, evil_checkpoint.path])
    assert not evil_checkpoint.folder.exists()
    result = test([toy.config, evil_checkpoint.path, '--trust-checkpoint'])
    assert result['toy/mean'] == pytest.approx(1.875)
    assert evil_checkpoint.folder.exists()


def test_missing_weights_are_refused(toy, test, tmp_path):
    path = tmp_path / 'half.pth'
    torch.save(dict(state_dict={'line.weight': torch.ones(1, 1)}), path)
    with pytest.raises(ValueError, match=r'half\.pth does not fit the model(.|\n)*line\.bias'):
        test([toy.config, str(path)])


def test_weights_of_another_model_are_told_in_short(toy, test, tmp_path):
    path = tmp_path / 'other.pth'
    weights = {f'encoder.{index}.weight': torch.ones(1) for index in range(100)}
    torch.save(dict(state_dict=weights, meta=dict(experiment_name='clip')), path)
    with pytest.raises(ValueError, match=r'other\.pth does not fit the model') as error:
        test([toy.config, str(path)])
    message = str(error.value)
    assert '2 missing (line.weight, line.bias)' in message
    assert '100 not in the model (encoder.0.weight, ' in message and 'weight, ...' in message
    assert len(message) < 500 + len(str(path)) and '\n' not in message
    assert 'experiment "clip". ' in message
    assert message.endswith('Use the config that the checkpoint was trained with')


def test_a_config_without_test_data_is_one_error(toy, test, checkpoint, capsys):
    with open(toy.config, 'a') as config:
        config.write('\ntest_dataloader = test_cfg = test_evaluator = None\n')
    with pytest.raises(SystemExit) as stop:
        test([toy.config, checkpoint])
    assert stop.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith('this config has nothing to test (it has no test_dataloader)')


def test_bad_arguments_are_one_error(toy, test, checkpoint, capsys):
    for argv, message in (
        ([checkpoint, toy.config], 'line.pth is no config (.py): the config comes first'),
        (['nowhere.py', checkpoint], 'config file does not exist: nowhere.py'),
        ([toy.config, 'nowhere.pth'], 'checkpoint does not exist: nowhere.pth'),
        ([toy.config, checkpoint, '--out', 'x.pkl'], '--out x.pkl: '),
    ):
        with pytest.raises(SystemExit) as stop:
            test(argv)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
