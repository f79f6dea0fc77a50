import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_detectors import small_faster_rcnn, write_detector
from small_pbrec import referring_files
from small_reir import shapes_reir

from mmground.datasets.grounding_shapes import generate
from mmground.datasets.word_vectors import WordVectors

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / 'demo' / 'image_demo.py'
TEXT = 'A [red square] and a [cat].'


@pytest.fixture(scope='module')
def demo():
    spec = importlib.util.spec_from_file_location('image_demo', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(files, out_dir, text=TEXT, **changed):
    values = {**vars(files), **changed}
    return [
        values['image'],
        text,
        values['config'],
        values['checkpoint'],
        '--device=cpu',
        f'--out-dir={out_dir}',
    ]


def test_prints_a_table_and_the_files(demo, toy_files, tmp_path, capsys):
    demo.main(arguments(toy_files, tmp_path / 'out'))
    lines = capsys.readouterr().out.splitlines()
    (red,) = [line for line in lines if line.strip().startswith('red square')]
    assert '0.75' in red and '%' in red and red.count(',') == 3
    (cat,) = [line for line in lines if line.strip().startswith('cat')]
    assert '0.0%' in cat and 'none' in cat
    written = [Path(line.strip()) for line in lines[lines.index('written:') + 1 :]]
    assert {path.name for path in written} == {'photo.png', 'photo.json'}
    assert all(path.is_file() for path in written)


def test_panoptic_segmentation(demo, toy_files, tmp_path, capsys):
    text = '[red] on [the green floor], [red or green] and [a cat]'
    options = ['--panoptic', '--cfg-options', 'model.panoptic=True']
    demo.main([*arguments(toy_files, tmp_path / 'out', text), *options])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    segments = lines[next(i for i, line in enumerate(lines) if line.startswith('segment ')) :]
    assert segments[1].startswith('red ') and segments[1].count(',') == 3
    # Both overlap by more than 0.8.
    assert segments[2].startswith('the green floor = red or green ')
    assert segments[3] == 'without a segment: a cat'
    assert (tmp_path / 'out' / 'panoptic' / 'photo.png').is_file()
    content = json.loads((tmp_path / 'out' / 'panoptic' / 'photo.json').read_text())
    assert len(content['annotations'][0]['segments_info']) == 2


def test_phrases_folder_and_config_options(demo, toy_files, tmp_path, capsys):
    out = tmp_path / 'out'
    arguments_ = arguments(toy_files, out, 'a red thing', image=str(Path(toy_files.image).parent))
    options = ['--batch-size=2', '--cfg-options', 'model.predict_boxes=True']
    demo.main([*arguments_, '--phrases', 'red', 'thing', *options])
    prediction = json.loads((out / 'preds' / 'photo.json').read_text())
    assert [phrase['text'] for phrase in prediction['phrases']] == ['red', 'thing']
    assert prediction['phrases'][0]['bbox'] == [1, 1, 1, 1]


def test_config_and_checkpoint_in_the_wrong_order(demo, toy_files, tmp_path):
    swapped = dict(config=toy_files.checkpoint, checkpoint=toy_files.config)
    with pytest.raises(SystemExit, match=r'^error: .*no config \(\.py\): the config comes first'):
        demo.main(arguments(toy_files, tmp_path, **swapped))


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(image='absent.jpg'), 'image absent.jpg does not exist'),
        (dict(config='absent.py'), 'config absent.py does not exist'),
        (dict(checkpoint='absent.pth'), 'checkpoint absent.pth does not exist'),
        (dict(text='a [red'), 'never closed'),
    ],
)
def test_mistakes_end_with_one_line(demo, toy_files, tmp_path, changed, message):
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        demo.main(arguments(toy_files, tmp_path, **changed))


def test_as_a_program(toy_files, tmp_path):
    tests = str(ROOT / 'tests')
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), tests])}

    def run(*args):
        return subprocess.run(
            [sys.executable, str(SCRIPT), *args], env=environment, capture_output=True, text=True
        )

    done = run(*arguments(toy_files, tmp_path / 'out'))
    assert done.returncode == 0, done.stderr
    assert 'red square' in done.stdout
    assert (tmp_path / 'out' / 'vis' / 'photo.png').is_file()
    failed = run(*arguments(toy_files, tmp_path, image='absent.jpg'))
    assert failed.returncode == 1
    assert 'error: image absent.jpg does not exist' in failed.stderr
    assert 'Traceback' not in failed.stderr


def test_a_referring_expression(demo, tmp_path, capsys):
    files = referring_files(tmp_path)
    out = tmp_path / 'out'
    demo.main([*arguments(files, out, 'the red star'), '--candidates'])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    (phrase,) = json.loads((out / 'preds' / 'photo.json').read_text())['phrases']
    (found,) = [line for line in lines if line.startswith('the red star')]
    box = ', '.join(f'{value:.0f}' for value in phrase['bbox'])
    assert found.endswith(box) and f'{phrase["score"]:.2f}' in found and '%' in found
    for kind in ('box', 'mask'):
        rows = [line for line in lines if line.startswith(f'{kind} ')]
        assert len(rows) == 12
        (chosen,) = [index for index, row in enumerate(rows) if ' * ' in row]
        assert chosen == phrase[f'{kind}_choice']
    assert (out / 'vis' / 'photo.png').is_file()


def test_points_without_localisers(demo, tmp_path, capsys):
    files = referring_files(tmp_path, [])
    with pytest.warns(UserWarning, match='has no localisers'):
        demo.main(arguments(files, tmp_path / 'out', 'the red star'))
    assert re.search(
        r'the red star .* rec point at \d+, \d+; res point at', capsys.readouterr().out
    )


def test_proposals_of_a_detector_and_relations(demo, tmp_path, config_dir, capsys):
    root = tmp_path / 'shapes'
    generate(root, ['flickr30k'], dict(train=2, val=1, test=1), size=64, seed=2)
    # All words are similar: whatever categories the detector finds, they are candidates.
    path = str(root / 'word_vectors.npz')
    words = WordVectors.load(path).words
    WordVectors(words, np.random.default_rng(0).random((len(words), 8), np.float32)).save(path)
    files = shapes_reir(tmp_path, root)
    detector = ['--detector', *write_detector(tmp_path, small_faster_rcnn(config_dir))]
    text, out = '[A red ball] near [the box], beside [a star].', tmp_path / 'out'
    argv = [*arguments(files, out, text), '--boxes=rpn']

    def found(*more):
        demo.main([*argv, *more])
        assert capsys.readouterr().out.count('the box ') == 1
        (file,) = (out / 'preds').iterdir()
        return json.loads(file.read_text())['phrases']

    phrases = found(*detector)
    assert [phrase['text'] for phrase in phrases] == ['A red ball', 'the box', 'a star']
    assert all(len(phrase['bbox_initial']) == 4 for phrase in phrases)
    assert found(*detector, '--relations', '1-2', '3-2') != phrases
    with pytest.raises(SystemExit, match=r'^error: .*there are none for image .*--detector'):
        demo.main(argv)
    with pytest.raises(SystemExit, match=r'^error: config none\.py does not exist'):
        demo.main([*argv, '--detector', 'none.py', detector[2]])
    with pytest.raises(SystemExit, match=r'^error: reir is no detector of mmdet, but a '):
        demo.main([*argv, '--detector', files.config, files.checkpoint])
    with pytest.raises(SystemExit, match=r'^error: the relation 1-5 .* of the 3 phrases'):
        demo.main([*argv, *detector, '--relations', '1-5'])
    other = tmp_path / 'other.jpg'
    other.write_bytes(Path(files.image).read_bytes())
    elsewhere = arguments(files, out, text, image=str(other))
    with pytest.raises(SystemExit, match=r"^error: .*for image 'other' .*; or give .*--detector"):
        demo.main([*elsewhere, '--proposals', files.proposals])
    other.write_text('no image')
    with pytest.raises(SystemExit, match=r'^error: image \S+ cannot be read: it is no image of'):
        demo.main([*elsewhere, '--proposals', files.proposals])
