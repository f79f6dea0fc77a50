"""The tool on small models of random weights, as a user runs it."""

import os

import pytest
from small_pbrec import referring_files
from small_reir import shapes_reir
from tool_loader import load_tool

from mmground.datasets.grounding_shapes import generate
from mmground.datasets.grounding_shapes.lexicon import THINGS

TEXT = '[a red ball] near [the box]'


@pytest.fixture(scope='module')
def main():
    return load_tool('analysis_tools/draw_phrase_boxes')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    generate(folder, ['flickr30k'], dict(train=3, val=2, test=2), size=64, seed=2)
    return folder


@pytest.fixture(scope='module')
def files(root, tmp_path_factory):
    return shapes_reir(tmp_path_factory.mktemp('reir'), root)


def arguments(files, out, *more):
    return [files.config, files.checkpoint, *more, f'--out-dir={out}', '--device=cpu']


def test_test_data_beside_a_model_without_graph(main, root, files, tmp_path, capsys):
    other = shapes_reir(tmp_path, root, 'plain', seed=1, graph=None, num_relations=0)
    compare = ['--compare', other.config, other.checkpoint, '--num-samples=30']
    written = main(arguments(files, tmp_path / 'out', *compare))
    assert sorted(os.listdir(tmp_path / 'out')) == sorted(map(os.path.basename, written))
    kinds = [path.rpartition('_')[2] for path in written]
    count = kinds.count('refinement.png')
    assert count == kinds.count('comparison.png') > kinds.count('graph.png') > 0
    # Said once, for all captions that have none.
    assert capsys.readouterr().out.count('left out: the text has no relations') == 1


def test_an_image_of_ones_own(main, files, tmp_path):
    argv = [files.image, TEXT, '--proposals', files.proposals]
    written = main(arguments(files, tmp_path, *argv, '--relations', '1-2'))
    stem = os.path.basename(files.image).removesuffix('.jpg')
    names = [f'{stem}_refinement.png', f'{stem}_graph.png']
    assert [os.path.basename(path) for path in written] == names


def test_what_is_wrong_ends_with_one_line(main, root, files, tmp_path):
    own = [files.image, TEXT]
    known = [*own, '--proposals', files.proposals]
    names = [*list(THINGS)[1:], 'unicorn']
    (tmp_path / 'names').mkdir()
    other = shapes_reir(tmp_path / 'names', root, classes=names)
    (tmp_path / 'pbrec').mkdir()
    pbrec = referring_files(tmp_path / 'pbrec', [])
    for more, message in (
        (own, 'there are none for image'),
        (['--proposals', files.proposals], '--proposals is for an image'),
        ([*known, '--relations', '1-3'], r'relation 1-3 \(.*\) is not between'),
        ([*known, '--relations', 'on'], '--relations on: expected the numbers'),
        (['--compare', other.config, other.checkpoint], 'has other categories of proposals'),
        (['--compare', pbrec.config, pbrec.checkpoint], 'with a WeakGroundingHead'),
        (['--compare', 'none.py', files.checkpoint], 'config none.py does not exist'),
    ):
        with pytest.raises(SystemExit, match=f'^error: .*{message}'):
            main(arguments(files, tmp_path, *more))
