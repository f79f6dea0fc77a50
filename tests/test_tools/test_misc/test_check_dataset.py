import json

import pytest
from data_factory import (
    write_flickr30k_dataset,
    write_png_dataset,
    write_refer_dataset,
    write_vocab,
)
from tool_loader import load_tool

from mmground.datasets.grounding_shapes import generate


@pytest.fixture(scope='module')
def check():
    return load_tool('misc/check_dataset')


def test_coco(check, tmp_path, capsys):
    write_png_dataset(tmp_path)
    argv = ['png', str(tmp_path), '--splits', 'val']
    vocab = write_vocab(tmp_path / 'vocab.txt')
    assert check([*argv, '--vocab', vocab, '--masks']) == 0
    out = capsys.readouterr().out
    assert _cells(out, 'narratives') == ['narratives', '7', '-', '5', '8,533']
    assert 'no problems found' in out

    (tmp_path / 'images/val2017/000000000139.png').unlink()
    assert check(argv) == 1
    out = capsys.readouterr().out
    assert 'val: 1 missing images' in out
    assert '000000000139.png' in out
    assert '1 problem found' in out


def test_grounding_shapes(check, tmp_path, capsys):
    generate(
        tmp_path / 'shapes',
        formats=['png'],
        counts=dict(train=3, val=2),
        size=64,
        seed=0,
        workers=1,
    )
    assert check(['png', str(tmp_path / 'shapes'), '--masks']) == 0
    out = capsys.readouterr().out
    assert 'both splits' in out
    assert '8,533' not in out  # the published numbers are not of these data
    phrases = sum(
        bool(utterance['segment_ids'])
        for split in ('train', 'val')
        for narrative in json.loads(
            (tmp_path / f'shapes/annotations/png_coco_{split}2017.json').read_text()
        )
        for utterance in narrative['segments']
    )
    row = next(line for line in out.split('both splits')[1].splitlines() if 'phrases ' in line)
    assert row.split('|')[2].strip() == str(phrases)


def test_command_line(check, tmp_path, capsys):
    for argv, message in (
        ([], 'DATASET'),
        (['cats', '.'], 'invalid choice'),
        (['png', '.', '--vocab', 'none.txt'], 'vocabulary does not exist: none.txt'),
    ):
        with pytest.raises(SystemExit) as stop:
            check(argv)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    assert check(['png', str(tmp_path / 'nowhere')]) == 1
    out = capsys.readouterr().out
    assert 'panoptic_train2017.json: the annotation file does not exist' in out
    assert '|' not in out  # no table of nothing


def _cells(out, name):
    """A row of a table; log messages may have the name, too."""
    row = next(line for line in out.splitlines() if line.startswith(f'| {name}'))
    return [cell.strip() for cell in row.strip('|').split('|')]


def test_refer(check, tmp_path, capsys):
    root = write_refer_dataset(tmp_path / 'refer')
    assert check(['refer', root, '--decode']) == 0
    out = capsys.readouterr().out
    assert _cells(out, 'refcoco train') == [
        'refcoco train', '2', '16,994', '3', '42,404', '6', '120,624'
    ]  # fmt: skip
    assert _cells(out, 'refcocog test') == [
        'refcocog test', '1', '2,600', '1', '5,023', '1', '9,602'
    ]  # fmt: skip
    assert 'refcoco+' not in out
    assert check(['refer', root, '--sets', 'refcoco', '--images', str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert 'refcoco val: 1 missing images' in out
    assert 'refcocog' not in out

    path = tmp_path / 'refer/refcoco/instances.json'
    generated = json.loads(path.read_text()) | dict(info=dict(description='Grounding Shapes'))
    path.write_text(json.dumps(generated))
    assert check(['refer', root, '--sets', 'refcoco']) == 0
    assert _cells(capsys.readouterr().out, 'refcoco train') == [
        'refcoco train', '2', '-', '3', '-', '6', '-'
    ]  # fmt: skip


def test_refer_without_files(check, tmp_path, capsys):
    for argv in (['refer', str(tmp_path)], ['refer', str(tmp_path), '--sets', 'refcocog']):
        assert check(argv) == 1
        out = capsys.readouterr().out
        assert 'the file of references does not exist' in out
        assert '|' not in out
    (tmp_path / 'refcoco+').mkdir()
    assert check(['refer', str(tmp_path)]) == 1
    assert 'refcoco+/refs(unc).p' in capsys.readouterr().out


def test_flickr30k(check, tmp_path, capsys):
    root = write_flickr30k_dataset(tmp_path / 'flickr30k')
    assert check(['flickr30k', root, '--splits', 'val', 'test', '--decode']) == 0
    out = capsys.readouterr().out
    assert _cells(out, 'val') == ['val', '1', '1,000', '2', '5,000', '2', '-', '1', '-']
    assert check(['flickr30k', root]) == 1
    out = capsys.readouterr().out
    assert _cells(out, 'train')[:5] == ['train', '1', '29,783', '5', '148,915']
    assert 'train: 1 phrases of chains that the file of boxes lacks' in out
    assert '2 problems found' in out
    shapes = tmp_path / 'shapes'
    generate(shapes, formats=['flickr30k'], counts=dict(train=2, val=1, test=1), size=64)
    argv = ['flickr30k', str(shapes / 'flickr30k'), '--decode', '--images']
    assert check([*argv, str(shapes / 'images')]) == 0
    assert _cells(capsys.readouterr().out, 'val')[1:5] == ['1', '-', '5', '-']
    assert check([*argv, str(shapes / 'images/val2017'), '--splits', 'val']) == 0
    # Images of another split are not taken for its own.
    next((shapes / 'images/test2017').iterdir()).rename(shapes / 'images/val2017/000000000013.jpg')
    capsys.readouterr()
    assert check([*argv, str(shapes / 'images')]) == 1
    assert 'test: 1 missing images' in capsys.readouterr().out
    assert check(['flickr30k', str(tmp_path / 'nowhere')]) == 1
    out = capsys.readouterr().out
    assert 'the list of images does not exist' in out and '|' not in out
