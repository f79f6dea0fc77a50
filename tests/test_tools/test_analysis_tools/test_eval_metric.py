import gzip
import json
from pathlib import Path

import pytest
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from referring_factory import write_referring_results
from result_factory import predicted_samples, write_result_file
from tool_loader import load_tool

from mmground.evaluation import PNGMetric, ReferringMetric


@pytest.fixture(scope='module')
def eval_metric():
    return load_tool('analysis_tools/eval_metric')


@pytest.fixture(autouse=True)
def _scope(monkeypatch):
    """The tool changes the default scope of the process."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())


def test_gives_what_the_evaluation_of_the_samples_gives(eval_metric, tmp_path, capsys):
    path = write_result_file(tmp_path / 'data')
    samples, _ = predicted_samples(tmp_path / 'again')
    expected = Evaluator(PNGMetric(['original', 'png256', 'ppmn'])).offline_evaluate(samples)
    argv = ['original,png256,ppmn', path, '--out', str(tmp_path / 'metrics.json')]
    metrics = eval_metric(argv)
    assert metrics == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert metrics['png/num_phrases'] == 10
    printed = capsys.readouterr().out
    assert '"png/num_phrases": 10' in printed
    assert json.loads((tmp_path / 'metrics.json').read_text())['png/num_dropped'] > 0


def test_referring_expressions(eval_metric, tmp_path):
    samples, path = write_referring_results(tmp_path)
    expected = Evaluator(ReferringMetric(['original', 'canvas'])).offline_evaluate(samples)
    metrics = eval_metric(['original,canvas', path, '--task', 'referring'])
    assert metrics == pytest.approx(expected)
    assert metrics['referring/original/mIoU'] == pytest.approx(100 * (1 + 0.5 + 0 + 0.5) / 4)


def test_takes_the_metric_of_a_config(eval_metric, tmp_path):
    path = write_result_file(tmp_path)
    config = tmp_path / 'config.py'
    config.write_text(
        "test_evaluator = [dict(type='PNGMetric', prefix='mine'), "
        "dict(type='DumpGroundingResults', out_file='results.jsonl')]"
    )
    content = Path(path).read_bytes()
    assert eval_metric([str(config), path])['mine/num_phrases'] == 10
    assert Path(path).read_bytes() == content


def test_bad_arguments_are_one_error(eval_metric, tmp_path, capsys):
    path = write_result_file(tmp_path)
    (tmp_path / 'empty.py').write_text('')
    for argv, message in (
        (['original', 'none.jsonl'], 'file of results does not exist: none.jsonl'),
        (['none.py', path], 'config file does not exist: none.py'),
        ([str(tmp_path / 'empty.py'), path], 'the config has no test_evaluator'),
    ):
        with pytest.raises(SystemExit) as stop:
            eval_metric(argv)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err


def test_what_cannot_be_evaluated_is_one_error(eval_metric, tmp_path, capsys):
    path = write_result_file(tmp_path)
    with pytest.raises(SystemExit) as error:
        eval_metric(['nonsense', path])
    assert error.value.code == 2
    assert 'protocol must be among' in capsys.readouterr().err
    with gzip.open(path, 'rt', encoding='utf-8') as file:
        lines = [json.loads(line) for line in file]
    for prediction in (own for line in lines for own in line.get('predictions', ())):
        prediction.pop('grid_mask', None)
    without = tmp_path / 'without.jsonl'
    without.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    with pytest.raises(SystemExit, match=r'^error: .*grid'):
        eval_metric(['ppmn', str(without)])
