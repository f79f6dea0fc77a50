import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import DefaultScope
from small_jmceln import small_jmceln
from small_pbrec import referring_model
from small_ppmn import small_ppmn
from small_reir import small_reir
from tool_loader import REPO, load_tool

from mmground.evaluation import PNGMetric
from mmground.models.heads import ContextualStage

PARTS = ('ResNet', 'BertEncoder', 'VisionLanguageEncoder', 'FCOSLocaliser', 'SOLOLocaliser')
TOOL = REPO / 'tools' / 'analysis_tools' / 'benchmark.py'


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """A small PPMN with frozen encoders, the image side of which is convolutions only."""
    model = small_ppmn(None, frozen=['backbone', 'neck.0', 'text_encoder'])
    model['head']['num_rounds'] = 0
    model['head']['test_cfg'] = dict(keep_grid_probs=True)
    path = tmp_path_factory.mktemp('config') / 'small.py'
    path.write_text(
        f'model = {model}\n'
        "optim_wrapper = dict(type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=0.1))\n"
        "test_evaluator = dict(type='PNGMetric', protocol=['original', 'ppmn'])\n"
    )
    return str(path)


@pytest.fixture
def measure(config, monkeypatch):
    """Measure a part in this process, with the arguments of a command line."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())
    tool = SimpleNamespace(**load_tool('analysis_tools/benchmark').__globals__)

    def run(part, *argv, phrases=2, dtype='fp32'):
        argv = [config, '--size', '64', '96', '--warmup', '0', '--repeats', '1', *argv]
        return tool.measure(tool.build_parser().parse_args(argv), part, phrases, dtype)

    return run


def test_measures_and_prints_a_table(config, tmp_path):
    """As a user would."""
    out = tmp_path / 'results.json'
    command = [sys.executable, str(TOOL), config, '--parts', 'head', 'head-train']
    command += ['--size', '64', '64', '--phrases', '1', '--repeats', '3', '--out', str(out)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    head, training = json.loads(out.read_text())
    assert (head['part'], training['part']) == ('head', 'head-train')
    for result in (head, training):
        assert 0 < result['fastest'] <= result['seconds']
        assert result['limit_seconds'] > 0
        assert 0 < result['before_mb'] <= result['peak_mb']
        assert f'{result["seconds"]:.3f}' in printed
    assert 'TFLOP/s' in printed


def test_counts_the_operations_of_the_trained_part(measure):
    """By hand: convolutions of 16 to 16 channels at stride 8, and the matching."""
    cells = 8 * 12
    three_by_three = 2 * 9 * 16 * 16
    # Levels of stride 4 (strided) and 8; 16 and one doubling; 32 and two doublings.
    neck = three_by_three * (cells + cells + (cells / 4 + cells) + (cells / 16 + cells / 4 + cells))
    one_by_one = 2 * 2 * 16 * 16 * cells
    pieces = 2 * 2
    match = 2 * pieces * 16 * cells + 2 * pieces * 24 * 16
    result = measure('head')
    assert result['gflop'] == pytest.approx((neck + one_by_one + match) / 1e9, rel=1e-6)


@pytest.mark.parametrize('part', ['inference', 'train'])
def test_other_parts_contain_the_head(measure, part):
    inside = measure('head' if part == 'inference' else 'head-train')
    result = measure(part, dtype='bf16')
    assert result['gflop'] > inside['gflop']
    assert result['part'] == part
    assert result['dtype'] == 'bf16'


def test_options_change_what_runs(measure, capsys):
    one = measure('head', '--profile')
    assert 'Self CPU time total' in capsys.readouterr().out
    two = measure('head', '--batch-size', '2', '--threads', '1')
    assert two['gflop'] == pytest.approx(2 * one['gflop'])
    rounds = measure('head', '--cfg-options', 'model.head.num_rounds=1')
    assert rounds['gflop'] > one['gflop']
    assert measure('head', phrases=4)['gflop'] > one['gflop']


def test_the_metric_scores_generated_predictions(measure, monkeypatch):
    seen = []
    compute = PNGMetric.compute_metrics

    def spy(self, results):
        seen.append((len(results), compute(self, results)))
        return seen[-1][1]

    monkeypatch.setattr(PNGMetric, 'compute_metrics', spy)
    result = measure('metric', '--samples', '16')
    assert result['gflop'] is None
    (count, metrics) = seen[0]
    assert count == 16
    assert metrics['num_phrases'] == 16 * 2
    assert 0 < metrics['original/AR'] < 100


@pytest.mark.parametrize(
    ('argv', 'message'),
    [(['missing.py'], 'missing.py'), (['--size', '100', '100'], 'multiples of 32')],
)
def test_a_wrong_command_line_is_one_error(config, argv, message, capsys):
    with pytest.raises(SystemExit) as error:
        load_tool('analysis_tools/benchmark')(argv if '.py' in argv[0] else [config, *argv])
    assert error.value.code == 2
    assert message in capsys.readouterr().err


@pytest.fixture(scope='module')
def referring_config(tmp_path_factory):
    """A small PBREC-MT with its detectors on a canvas of 128 x 128 pixels."""
    folder = tmp_path_factory.mktemp('referring')
    path = folder / 'referring.py'
    pipeline = [dict(type='LoadGroundingImage'), dict(type='Letterbox', size=128)]
    path.write_text(
        f'model = {referring_model(None)}\n'
        "optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))\n"
        "test_evaluator = dict(type='ReferringMetric', protocol=['original', 'canvas'])\n"
        f'test_dataloader = dict(dataset=dict(pipeline={pipeline}))\n'
    )
    return str(path)


@pytest.fixture
def measure_referring(referring_config, monkeypatch):
    """As ``measure``; also returns what went through the parts of the model."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())
    tool = SimpleNamespace(**load_tool('analysis_tools/benchmark').__globals__)

    def run(part, *argv, phrases=2):
        argv = [referring_config, '--warmup', '0', '--repeats', '1', *argv]
        args = tool.build_parser().parse_args(argv)
        args.size = args.size or tool._input_size(args)
        sizes = []

        def note(module, inputs, _):
            if type(module).__name__ in PARTS:
                sizes.append((type(module).__name__, len(inputs[0])))

        hook = torch.nn.modules.module.register_module_forward_hook(note)
        try:
            return tool.measure(args, part, phrases, 'fp32'), sizes
        finally:
            hook.remove()

    return run


def test_expressions_share_their_image_and_its_detectors(measure_referring):
    results = {}
    for phrases in (1, 5):
        results[phrases], sizes = measure_referring('inference', phrases=phrases)
        # The run that is timed, and the one whose operations are counted.
        assert sizes.count(('FCOSLocaliser', 1)) == sizes.count(('SOLOLocaliser', 1)) == 2
        assert {size for name, size in sizes if name == 'ResNet'} == {1}
        assert {size for name, size in sizes if name == 'BertEncoder'} == {phrases}
    one, five = (results[phrases]['gflop'] for phrases in (1, 5))
    assert one < five < 2 * one
    _, sizes = measure_referring('inference', '--batch-size', '2')
    assert {size for name, size in sizes if name == 'FCOSLocaliser'} == {2}
    assert {size for name, size in sizes if name == 'BertEncoder'} == {4}


def test_the_head_of_a_referring_model_is_all_that_is_trained(measure_referring):
    whole, sizes = measure_referring('head')
    assert {'ResNet', 'BertEncoder', 'VisionLanguageEncoder'} <= {name for name, _ in sizes}
    assert 'FCOSLocaliser' not in {name for name, _ in sizes}
    training, _ = measure_referring('head-train')
    assert training['gflop'] > 2 * whole['gflop']
    alone, _ = measure_referring('head', '--cfg-options', 'model.frozen=[backbone,text_encoder]')
    assert alone['gflop'] < whole['gflop']


def test_expressions_are_as_long_as_the_encoder_reads(measure_referring):
    full, _ = measure_referring('head')
    given, _ = measure_referring('head', '--words', '14')
    short, _ = measure_referring('head', '--words', '3')
    assert full['gflop'] == given['gflop'] > short['gflop']


@pytest.mark.parametrize('part', ['train', 'metric'])
def test_other_parts_of_a_referring_model(measure_referring, part):
    result, _ = measure_referring(part, '--samples', '16')
    assert result['seconds'] > 0


def test_the_canvas_is_that_of_the_letterbox(referring_config, config):
    tool = SimpleNamespace(**load_tool('analysis_tools/benchmark').__globals__)
    parse = tool.build_parser().parse_args
    assert tool._input_size(parse([referring_config])) == (128, 128)
    assert tool._input_size(parse([config])) == (800, 1216)


@pytest.fixture(scope='module')
def weak_config(tmp_path_factory):
    """A small ReIR."""
    folder = tmp_path_factory.mktemp('weak')
    path = folder / 'weak.py'
    path.write_text(
        f'model = {small_reir(folder)}\n'
        "optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))\n"
    )
    return str(path)


def test_steps_with_cached_regions(weak_config, tmp_path, monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())
    tool = SimpleNamespace(**load_tool('analysis_tools/benchmark').__globals__)

    def run(part, *options):
        argv = [weak_config, '--size', '64', '96', '--warmup', '1', '--repeats', '1']
        if options:
            argv += ['--cfg-options', *options]
        return tool.measure(tool.build_parser().parse_args(argv), part, 2, 'fp32')['gflop']

    path = f'model.region_cache.path={tmp_path / "cache"}'
    plain, cached = run('train'), run('train', path)
    with_maps = run('train', path, 'model.region_cache.keep_maps=True')
    # What is saved first is layer4 on the proposals, then the backbone.
    assert with_maps < cached < plain
    assert run('train-start', path) < with_maps
    assert run('train-start') < plain
    assert 0 < run('head') < run('head-train') < plain
    assert run('inference') > 0


def test_checkpointed_parts_run_twice_in_a_training_step(tmp_path, monkeypatch):
    """JMCELN, whose text encoder needs no file of words."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())
    config = tmp_path / 'jmceln.py'
    config.write_text(
        f'model = {small_jmceln()}\n'
        "optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))\n"
    )
    tool = SimpleNamespace(**load_tool('analysis_tools/benchmark').__globals__)
    parts = []
    original = ContextualStage.forward

    def forward(self, *args):
        parts.append('stage')
        return original(self, *args)

    monkeypatch.setattr(ContextualStage, 'forward', forward)
    runs, found = [], []
    for options in ((), ('--checkpoint-activations', 'head.stages')):
        argv = [str(config), '--size', '64', '64', '--batch-size', '2']
        argv += ['--warmup', '0', '--repeats', '1', *options]
        found.append(tool.measure(tool.build_parser().parse_args(argv), 'train', 1, 'fp32'))
        runs.append(len(parts))
        parts.clear()
    assert runs[0] > 0 and runs[1] == 2 * runs[0]
    assert found[1]['gflop'] > found[0]['gflop'] > 0
    assert tool.measure(tool.build_parser().parse_args(argv), 'inference', 2, 'fp32')['gflop'] > 0


def test_a_part_that_there_is_not(referring_config, monkeypatch, capsys):
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())
    tool = SimpleNamespace(**load_tool('analysis_tools/benchmark').__globals__)
    argv = [referring_config, '--size', '64', '64', '--checkpoint-activations', 'head.nothing']
    with pytest.raises(ValueError, match=r"'head\.nothing' names no part"):
        tool.measure(tool.build_parser().parse_args(argv), 'train', 1, 'fp32')
