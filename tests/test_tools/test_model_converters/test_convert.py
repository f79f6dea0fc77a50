"""The command; what it converts is tested in tests/test_converters and tests/test_parity."""

import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from small_detectors import build_detector, small_fcos, small_solo
from small_ppmn import build, small_ppmn, write_vocabulary

from mmground.apis import read_checkpoint


class Payload:
    """Pickles to a call of ``os.mkdir``."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A working directory with a small model's config, vocabulary and BERT."""
    monkeypatch.chdir(tmp_path)
    write_vocabulary(tmp_path / 'vocab.txt')
    pieces = (tmp_path / 'vocab.txt').read_text().split()
    Config(dict(model=small_ppmn(None, **_with_rows(len(pieces))))).dump('small.py')
    model = build('vocab.txt', **_with_rows(len(pieces)))
    bert = {f'bert.{name}': w for name, w in model.text_encoder.model.state_dict().items()}
    torch.save({**bert, 'bert.pooler.dense.bias': torch.ones(1)}, 'bert.bin')
    return tmp_path


def _with_rows(count):
    return dict(text_encoder=dict(small_ppmn(None)['text_encoder'], vocab_size=count))


ARGV = ['bert', 'bert.bin', 'out/bert.pth', '--vocab', 'vocab.txt', '--config', 'small.py']


def test_converts_and_says_what_it_dropped(files, convert, capsys):
    convert(ARGV)
    out = capsys.readouterr().out
    assert 'dropped    1 without use: pooler.dense' in out
    checkpoint = read_checkpoint('out/bert.pth')
    number = len(checkpoint['state_dict'])
    assert f'wrote {number} tensors, dropped 1: out/bert.pth' in out
    assert f'bert.bin: SHA-256 {checkpoint["meta"]["sha256"]}\n' in out
    assert all(name.startswith('text_encoder.') for name in checkpoint['state_dict'])


def test_merges(files, convert, capsys):
    convert(ARGV)
    torch.save({'head.a': torch.ones(1)}, 'head.pth')
    convert(['merge', 'out/bert.pth', 'head.pth', 'all.pth'])
    names = set(read_checkpoint('all.pth')['state_dict'])
    assert {'head.a', 'text_encoder.vocab'} < names
    assert f'wrote {len(names)} tensors: all.pth' in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r'error: all\.pth has weights that another file has'):
        convert(['merge', 'out/bert.pth', 'all.pth', 'twice.pth'])
    assert not os.path.exists('twice.pth')


def test_detectors_join_a_pbrec(files, convert, capsys, monkeypatch):
    """Whatever its own file looks like."""
    # The tool is no module that could be imported by a name.
    published = convert.__globals__['PUBLISHED']
    stage = {'head.a': torch.ones(1)}
    of_pbrec = replace(published['pbrec'], convert=lambda _: (stage, []), parts=('text_encoder.',))
    monkeypatch.setitem(published, 'pbrec', of_pbrec)
    checked = []
    monkeypatch.setattr(
        'mmground.converters.conversion._check_layout',
        lambda weights, model, published, source: checked.append(published.parts),
    )
    monkeypatch.setattr(
        'mmground.converters.conversion._vocabulary', lambda *_: torch.zeros(1).byte()
    )
    fcos, solo = (build_detector(own()).state_dict() for own in (small_fcos, small_solo))
    torch.save(dict(state_dict=fcos), 'fcos.pth')
    torch.save(dict(state_dict=solo), 'solo.pth')
    torch.save(dict(model={}), 'pbrec.pth')
    argv = ['pbrec', 'pbrec.pth', 'all.pth', '--config', 'small.py', '--vocab', 'vocab.txt']
    convert([*argv, '--fcos', 'fcos.pth', '--solo', 'solo.pth'])
    checkpoint = read_checkpoint('all.pth')
    expected = {f'localisers.box.detector.{name}' for name in fcos}
    expected |= {f'localisers.mask.detector.{name}' for name in solo}
    assert set(checkpoint['state_dict']) == {'head.a', 'text_encoder.vocab', *expected}
    assert [own['system'] for own in checkpoint['meta']['merged']] == ['pbrec', 'fcos', 'solo']
    assert checked == [('text_encoder.',), ('localisers.box.',), ('localisers.mask.',)]
    convert([*argv[:2], 'box.pth', *argv[3:], '--fcos', 'fcos.pth'])
    assert len(read_checkpoint('box.pth')['state_dict']) == 2 + len(fcos)
    with pytest.raises(SystemExit) as stop:
        convert([*argv, '--fcos', 'absent.pth'])
    assert stop.value.code == 2
    assert 'input file does not exist: absent.pth' in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r'error: solo\.pth is not an FCOS'):
        convert([*argv, '--fcos', 'solo.pth'])


def test_wrong_command_lines_are_one_error(files, convert, capsys):
    for argv, message in (
        (
            ['bert', 'absent.bin', 'o.pth', '--vocab', 'vocab.txt'],
            'input file does not exist: absent',
        ),
        (['bert', 'bert.bin', 'o.pth'], 'required: --vocab'),
        (['ppmn', 'bert.bin', 'o.pth'], 'required: --vocab'),
        (['bert', 'bert.bin', 'o.pth', '--vocab', 'no.txt'], 'vocabulary does not exist: no.txt'),
        ([*ARGV[:-1], 'no.py'], 'config file does not exist: no.py'),
        (['bert', 'bert.bin', './bert.bin', '--vocab', 'vocab.txt'], 'would replace the input'),
        (['other', 'a', 'b'], "invalid choice: 'other'"),
    ):
        with pytest.raises(SystemExit) as stop:
            convert(argv)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_file_that_does_not_fit_is_one_error(files, convert):
    """The default config is the full recipe's."""
    with pytest.raises(SystemExit, match=r'^error: .*vocab\.txt has 16 pieces but .* 30522'):
        convert(ARGV[:-2])
    assert not os.path.exists('out')


def test_code_in_a_file_does_not_run(files, convert):
    folder = files / 'made'
    torch.save(dict(torch.load('bert.bin'), evil=Payload(folder)), 'evil.bin')
    with open('evil.pkl', 'wb') as file:
        pickle.dump(dict(model=dict(a=np.ones(1)), evil=Payload(folder)), file)
    more = ['--config', 'small.py']
    for argv in (
        ['bert', 'evil.bin', 'o.pth', '--vocab', 'vocab.txt', *more],
        ['ppmn', 'evil.bin', 'o.pth', '--vocab', 'vocab.txt', *more],
        ['detectron2-panoptic-fpn', 'evil.pkl', 'o.pth', *more],
        ['merge', 'evil.bin', 'bert.bin', 'o.pth'],
    ):
        with pytest.raises(SystemExit, match=r'^error: .*evil.*--trust-checkpoint'):
            convert(argv)
        assert not folder.exists()
    assert not os.path.exists('o.pth')
    with pytest.raises(SystemExit, match=r'^error: .*: a$'):
        convert(['detectron2-panoptic-fpn', 'evil.pkl', 'o.pth', *more, '--trust-checkpoint'])
    assert folder.exists()
