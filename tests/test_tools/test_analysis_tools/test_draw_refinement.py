"""The tool on small models of random weights, as a user runs it."""

import os
import subprocess
import sys
from types import SimpleNamespace

import mmcv
import pytest
import torch
from small_drmn import small_drmn
from small_ppmn import small_ppmn, write_vocabulary
from tool_loader import REPO, load_tool
from toy_grounder import toy_config, toy_image

from mmground.registry import MODELS

TEXT = '[a red star] on [the grass].'
KINDS = dict(ppmn=('maps', 'points'), official=('maps', 'points', 'sampling'))
KINDS['paper'] = KINDS['official']


@pytest.fixture(scope='module')
def main():
    return load_tool('analysis_tools/draw_refinement')


@pytest.fixture
def files(tmp_path, request):
    """``config``, ``checkpoint``, ``image`` and ``out``."""
    form = getattr(request, 'param', 'official')
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    config = toy_config()
    torch.manual_seed(0)
    config.model = small_ppmn(vocab_file) if form == 'ppmn' else small_drmn(vocab_file, form)
    files = SimpleNamespace(
        form=form,
        config=str(tmp_path / 'small.py'),
        checkpoint=str(tmp_path / 'small.pth'),
        image=str(tmp_path / 'images' / 'photo.png'),
        out=tmp_path / 'out',
    )
    config.dump(files.config)
    torch.save(dict(state_dict=MODELS.build(config.model).state_dict()), files.checkpoint)
    mmcv.imwrite(toy_image(), files.image)
    return files


def arguments(files, *options, text=TEXT, **changed):
    values = {**vars(files), **changed}
    paths = [values['config'], values['checkpoint'], values['image']]
    return [*paths, text, '--out-dir', str(values['out']), '--device=cpu', *options]


@pytest.mark.parametrize('files', list(KINDS), indirect=True)
@pytest.mark.filterwarnings('ignore:each phrase takes all')
def test_a_picture_per_phrase_and_kind(main, files, capsys):
    written = main(arguments(files))
    names = [f'photo_{number}_{kind}.png' for number in (1, 2) for kind in KINDS[files.form]]
    assert written == [str(files.out / name) for name in names]
    assert sorted(os.listdir(files.out)) == sorted(names)
    for path in written:
        picture = mmcv.imread(path)
        assert picture.shape[2] == 3 and len(set(picture.reshape(-1).tolist())) > 50
    output = capsys.readouterr().out
    assert f'{files.out / names[0]}: a red star' in output
    left_out = 'left out: the model has no samples to draw: its refinement has no deformable'
    assert (left_out in output) == (files.form == 'ppmn')


def test_some_phrases_and_a_piece(main, files):
    (whole, *_), (other, *_) = (
        [mmcv.imread(path) for path in main(arguments(files, *options)) if 'points' in path]
        for options in (['--phrase', '1'], ['--phrase', '2', '1', '--piece', '2'])
    )
    assert whole.shape != other.shape or (whole != other).any()
    numbers = {path.name.split('_')[1] for path in files.out.iterdir()}
    assert numbers == {'1', '2'}


def test_no_rounds_a_folder_and_listed_phrases(main, files, capsys):
    folder = os.path.dirname(files.image)
    mmcv.imwrite(toy_image()[:, ::-1], os.path.join(folder, 'second.png'))
    options = ['--phrases', 'red star', '--cfg-options', 'model.head.num_rounds=0']
    state = torch.load(files.checkpoint)['state_dict']
    kept = {name: weight for name, weight in state.items() if 'rounds' not in name}
    torch.save(dict(state_dict=kept), files.checkpoint)
    written = main(arguments(files, *options, text='a red star', image=folder))
    assert [os.path.basename(path) for path in written] == [
        'photo_1_maps.png',
        'second_1_maps.png',
    ]
    assert capsys.readouterr().out.count('it has no rounds') == 2


@pytest.mark.parametrize(
    ('options', 'changed', 'message'),
    [
        ([], dict(image='absent.jpg'), 'image absent.jpg does not exist'),
        ([], dict(config='absent.py'), 'config absent.py does not exist'),
        ([], dict(checkpoint='absent.pth'), 'checkpoint absent.pth does not exist'),
        ([], dict(text='a [red'), 'never closed'),
        (['--phrase', '3'], {}, r'--phrase 3: the text has 2 phrase\(s\), counted from 1'),
        (['--phrase', '0'], {}, '--phrase 0'),
        (['--piece', '3'], {}, "--piece 3: the phrase 'the grass' has 2 queries, counted from 1"),
        (['--piece', '0'], {}, '--piece 0'),
        (['--num-samples', '0'], {}, '--num-samples must be at least 1, got 0'),
        ([], dict(text='[\u200b]'), 'reads no piece'),
    ],
)
def test_mistakes_end_with_one_line(main, files, options, changed, message):
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        main(arguments(files, *options, **changed))
    assert not files.out.exists()


def test_models_of_other_families(main, toy_files, tmp_path):
    with pytest.raises(SystemExit, match=r'^error: .*this ToyGrounder is NoneType'):
        main(arguments(toy_files, out=tmp_path / 'out'))


def test_as_a_program(files):
    script = REPO / 'tools' / 'analysis_tools' / 'draw_refinement.py'
    done = subprocess.run(
        [sys.executable, str(script), *arguments(files, '--phrase=2', '--num-samples=3')],
        env={**os.environ, 'PYTHONPATH': str(REPO)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(files.out)) == [f'photo_2_{kind}.png' for kind in KINDS['official']]
    assert 'the grass' in done.stdout
