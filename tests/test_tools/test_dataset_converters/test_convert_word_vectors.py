import numpy as np
import pytest
from tool_loader import load_tool

from mmground.datasets.word_vectors import WordVectors


@pytest.fixture(scope='module')
def tool():
    return load_tool('dataset_converters/convert_word_vectors')


def test_skip_thoughts(tool, tmp_path, capsys):
    (tmp_path / 'dictionary.txt').write_text('dog\ncat\nfire\n')
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / 'utable.npy', table)
    (tmp_path / 'vocab.txt').write_text('Dog\nbird\n')
    (tmp_path / 'names.txt').write_text('fire-dog\n')
    out = str(tmp_path / 'out.npz')
    files = [str(tmp_path / name) for name in ('dictionary.txt', 'utable.npy')]
    keep = [str(tmp_path / name) for name in ('vocab.txt', 'names.txt')]
    tool(['skip-thoughts', *files, out, '--keep', *keep])
    printed = capsys.readouterr().out
    # "fire-dog" has that of its parts.
    assert '2 words, 2 numbers each' in printed and '1 words have no vector: bird\n' in printed
    found = WordVectors.load(out)
    assert found.words == ['dog', 'fire']
    np.testing.assert_array_equal(found.vectors, table[[0, 2]])


def test_text(tool, tmp_path, capsys):
    (tmp_path / 'glove.txt').write_text('dog 1 2\ncat 3 4\n')
    out = str(tmp_path / 'out.npz')
    tool(['text', str(tmp_path / 'glove.txt'), out])
    assert '2 words, 2 numbers each' in capsys.readouterr().out
    np.testing.assert_array_equal(WordVectors.load(out).of(['cat'])[0], [[3, 4]])
    with pytest.raises(SystemExit):
        tool(['text', str(tmp_path / 'glove.txt'), out, '--keep', 'none.txt'])
    assert 'file of words does not exist' in capsys.readouterr().err
