import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / 'tools' / 'misc' / 'make_shapes.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('make_shapes', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small(root, *more):
    return [str(root), '--train', '2', '--val', '1', '--size', '64', '--workers', '1', *more]


def test_command_line(tmp_path):
    root = tmp_path / 'shapes'
    command = [sys.executable, str(TOOL), *small(root, '--format', 'png', '--seed', '3')]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'png train: images 2, narratives' in done.stdout and 'thing_share' in done.stdout
    arguments = json.loads((root / 'shapes.json').read_text())['arguments']
    assert arguments == dict(formats=['png'], counts=dict(train=2, val=1), size=64, seed=3)
    for split, count in (('train', 2), ('val', 1)):
        assert len(list((root / 'images' / f'{split}2017').glob('*.jpg'))) == count
        assert (root / 'annotations' / f'png_coco_{split}2017.json').is_file()


def test_refcoco_family(tool, tmp_path, capsys):
    root = tmp_path / 'shapes'
    formats = ['--format', 'refcoco', 'refcoco+', 'refcocog', 'png']
    assert tool.main(small(root, *formats, '--val', '2', '--test', '3')) == 0
    printed = capsys.readouterr().out
    assert 'refcoco+ test: images 3, refs ' in printed and 'coco val: images 2, ' in printed
    assert len(list((root / 'images' / 'test2017').iterdir())) == 3
    for name in ('refcoco/refs(unc).p', 'refcoco+/refs(unc).p', 'refcocog/refs(umd).p'):
        assert (root / name).is_file()
    assert (root / 'annotations/instances_val2017.json').is_file()
    assert (root / 'annotations/png_coco_val2017.json').is_file()


def test_as_many_test_images_as_val_images(tool, tmp_path, capsys):
    root = tmp_path / 'shapes'
    assert tool.main(small(root, '--format', 'refcocog', '--val', '2')) == 0
    counts = json.loads((root / 'shapes.json').read_text())['arguments']['counts']
    assert counts == dict(train=2, val=2, test=2)
    assert tool.main(small(tmp_path / 'png', '--test', '2')) == 1
    assert "splits ['train', 'val']" in capsys.readouterr().err


def test_defaults_are_the_documented_data_set(tool):
    args = tool.parse_args(['data/shapes'])
    assert (args.format, args.train, args.val, args.size, args.seed) == (
        ['png'],
        10000,
        300,
        128,
        0,
    )
    assert args.workers >= 1 and not args.overwrite and args.test is None


def test_twice_refused_and_overwritten(tool, tmp_path, capsys):
    root = tmp_path / 'shapes'
    assert tool.main(small(root)) == 0
    assert 'made' in capsys.readouterr().out
    assert tool.main(small(root)) == 0
    assert 'complete already' in capsys.readouterr().out
    assert tool.main(small(root, '--seed', '1')) == 1
    assert '--overwrite' in capsys.readouterr().err
    assert tool.main(small(root, '--seed', '1', '--overwrite')) == 0


def test_a_format_is_added(tool, tmp_path, capsys):
    root = tmp_path / 'shapes'
    assert tool.main(small(root)) == 0
    assert tool.main(small(root, '--format', 'refcoco')) == 0
    out = capsys.readouterr().out
    assert f'{root}: made png\n' in out and f'{root}: made coco, refcoco\n' in out
    assert 'png val: images 1, ' in out.split('made coco')[1]
    assert tool.main(small(root, '--format', 'png', 'refcoco')) == 0
    assert 'complete already' in capsys.readouterr().out


def test_bad_arguments(tool, tmp_path, capsys):
    assert tool.main(small(tmp_path / 'shapes', '--size', '8')) == 1
    assert 'size must be at least' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main(small(tmp_path / 'shapes', '--format', 'gif'))
    assert list(tmp_path.iterdir()) == []
