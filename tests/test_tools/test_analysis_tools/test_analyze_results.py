import json
from pathlib import Path

import pytest
from PIL import Image
from referring_factory import write_referring_results
from result_factory import write_result_file
from tool_loader import load_tool


@pytest.fixture(scope='module')
def analyze():
    return load_tool('analysis_tools/analyze_results')


def test_tables_and_cases(analyze, tmp_path, capsys):
    path = write_result_file(tmp_path / 'data')
    out_dir = tmp_path / 'out'
    analysis = analyze([path, '--out-dir', str(out_dir), '--num-cases', '2'])
    assert json.loads((out_dir / 'analysis.json').read_text()) == analysis
    assert analysis['num_samples'] == 6
    assert analysis['breakdown']['all']['all']['num_phrases'] == 10
    assert analysis['breakdown']['category'].keys() == {'person', 'animal', 'plant', 'wall'}
    worst, best = analysis['cases']['worst'], analysis['cases']['best']
    assert worst[0]['sample_id'] == '139_6'
    assert best[0]['sample_id'] == '139_0'
    assert best[0]['phrases'][1] == dict(text='two Dogs', iou=1.0)
    assert best[0]['text'].startswith('In this  picture')
    ious = [case['mean_iou'] for case in (*worst, *best[::-1])]
    assert ious == sorted(ious)
    for case in (*worst, *best):
        assert min(Image.open(out_dir / case['picture']).size) > 100
    assert len(list((out_dir / 'cases').iterdir())) == 4

    text = (out_dir / 'analysis.md').read_text()
    assert '](cases/worst_01.png)' in text
    assert '2. two Dogs: 1.00\n' in text
    assert f'Image: `{best[0]["img_path"]}`' in text
    assert '| animal' in text
    assert '| animal' in capsys.readouterr().out


def test_images_that_were_moved(analyze, tmp_path):
    path = write_result_file(tmp_path / 'data')
    images = tmp_path / 'data/images/val2017'
    images.rename(tmp_path / 'moved')
    argv = [path, '--out-dir', str(tmp_path / 'out'), '--num-cases', '1']
    with pytest.raises(FileNotFoundError, match=r"the image of sample '139_\d' does not exist"):
        analyze(argv)
    analyze([*argv, '--img-dir', str(tmp_path / 'moved')])
    assert Path(tmp_path / 'out/cases/best_01.png').is_file()


def test_missing_file(analyze, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        analyze(['none.jsonl', '--out-dir', str(tmp_path)])
    assert stop.value.code == 2
    assert 'file of results does not exist: none.jsonl' in capsys.readouterr().err


def test_referring_expressions(analyze, tmp_path, capsys):
    _, path = write_referring_results(tmp_path / 'data')
    out_dir = tmp_path / 'out'
    argv = [path, '--out-dir', str(out_dir), '--num-cases', '2']
    analysis = analyze([*argv, '--task', 'referring'])
    groups = analysis['breakdown']
    assert list(groups) == ['all', 'split', 'size', 'words', 'type']
    assert groups['all']['all'] == {
        'num_expressions': 4,
        'Acc@0.5': 50,
        'mIoU': 50,
        'oIoU': pytest.approx(100 * 250 / 600),
        'point_acc': 75,
    }
    assert groups['split']['refcoco_testA']['num_expressions'] == 2
    assert groups['type']['size']['mIoU'] == 100
    assert analysis['cases']['worst'][0]['sample_id'] == 'c'
    # Nothing predicted where nothing is the target is right.
    assert {case['sample_id'] for case in analysis['cases']['best']} == {'a', 'e'}
    for case in (*analysis['cases']['worst'], *analysis['cases']['best']):
        assert min(Image.open(out_dir / case['picture']).size) > 20
    table = capsys.readouterr().out
    assert '| split         | expressions | Acc@0.5 |   mIoU |   oIoU |' in table
    assert '| refcoco_testA |           2 |' in table
    with pytest.raises(SystemExit, match=r'error: .*gt_regions.is_thing'):
        analyze(argv)


def test_boxes_only(analyze, tmp_path):
    _, path = write_referring_results(tmp_path / 'data', 'results.jsonl')
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    for line in lines[1:]:
        for entry in (*line['predictions'], *line['regions']):
            del entry['mask']
    Path(path).write_text(''.join(json.dumps(line) + '\n' for line in lines))
    analysis = analyze([path, '--out-dir', str(tmp_path / 'out'), '--task', 'referring'])
    assert analysis['breakdown']['all']['all'].keys() == {
        'num_expressions',
        'Acc@0.5',
        'point_acc',
    }
    assert len(analysis['cases']['worst']) == 5
