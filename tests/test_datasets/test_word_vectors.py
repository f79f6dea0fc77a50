import numpy as np
import pytest

from mmground.datasets.word_vectors import (
    WordVectors,
    name_words,
    read_names,
    read_skip_thoughts,
    read_text_vectors,
    words_to_keep,
)

TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)
WORDS = ['fire', 'truck', 'dog', 'café']


@pytest.fixture
def table():
    return WordVectors(WORDS, TABLE)


def test_look_up(table):
    vectors, known = table.of(['dog', 'cat', 'fire-truck', 'fire-cat', 'dog'])
    assert vectors.dtype == np.float32 and vectors.shape == (5, 3)
    assert known.tolist() == [True, False, True, False, True]
    np.testing.assert_array_equal(vectors[[0, 4]], TABLE[[2, 2]])
    np.testing.assert_array_equal(vectors[2], (TABLE[0] + TABLE[1]) / 2)
    assert not vectors[[1, 3]].any()
    vectors, known = table.of([])
    assert vectors.shape == (0, 3) and known.shape == (0,)


def test_names(table):
    vectors, known = table.of_names(['Fire truck', 'big_dog', 'cat'])
    np.testing.assert_array_equal(vectors, [TABLE[:2].mean(0), TABLE[2], np.zeros(3)])
    assert known.tolist() == [True, True, False]
    assert name_words('Stop  Sign_post') == ['stop', 'sign', 'post']


def test_a_file_keeps_them(table, tmp_path):
    path = str(tmp_path / 'new' / 'vectors.npz')
    table.save(path)
    found = WordVectors.load(path)
    assert found.words == WORDS and found.dim == 3 and len(found) == 4
    np.testing.assert_array_equal(found.vectors, TABLE)


def test_bad_tables(tmp_path):
    with pytest.raises(ValueError, match="'a' has two vectors"):
        WordVectors(['a', 'b', 'a'], TABLE[:3])
    with pytest.raises(ValueError, match=r'1 words have vectors of shape \(4, 3\)'):
        WordVectors(['a'], TABLE)
    with pytest.raises(FileNotFoundError, match=r'write it with .*convert_word_vectors'):
        WordVectors.load(str(tmp_path / 'none.npz'))
    path = tmp_path / 'other.npz'
    path.write_bytes(b'something')
    with pytest.raises(ValueError, match=r'other\.npz: the file holds no vectors'):
        WordVectors.load(str(path))
    np.savez(path, words=np.array([object()], dtype=object), vectors=TABLE)
    with pytest.raises(ValueError, match=r'other\.npz: the file holds no vectors'):
        WordVectors.load(str(path))
    with pytest.raises(ValueError, match='line break'):
        WordVectors(['a\nb'], TABLE[:1]).save(str(path))


def test_skip_thoughts(tmp_path):
    dictionary, table = tmp_path / 'dictionary.txt', tmp_path / 'utable.npy'
    dictionary.write_text('fire\ntruck\ndog\ncafé\n', encoding='utf-8')
    np.save(table, TABLE)
    found = read_skip_thoughts(str(dictionary), str(table))
    assert found.words == WORDS
    np.testing.assert_array_equal(found.vectors, TABLE)
    found = read_skip_thoughts(str(dictionary), str(table), keep={'dog', 'fire', 'cat'})
    assert found.words == ['fire', 'dog']
    np.testing.assert_array_equal(found.vectors, TABLE[[0, 2]])
    with pytest.raises(ValueError, match='none of the words to keep'):
        read_skip_thoughts(str(dictionary), str(table), keep={'cat'})
    np.save(table, TABLE[:2])
    with pytest.raises(ValueError, match=r'shape \(2, 3\), but .* has 4 words'):
        read_skip_thoughts(str(dictionary), str(table))
    np.save(table, np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r'utable\.npy: the file is no array'):
        read_skip_thoughts(str(dictionary), str(table))
    with pytest.raises(FileNotFoundError, match=r'none\.npy'):
        read_skip_thoughts(str(dictionary), str(tmp_path / 'none.npy'))
    with pytest.raises(FileNotFoundError, match=r'none\.txt'):
        read_skip_thoughts(str(tmp_path / 'none.txt'), str(table))


@pytest.mark.parametrize('header', ['', '4 3\n'])
def test_text_vectors(tmp_path, header):
    path = tmp_path / 'glove.txt'
    path.write_text(
        f'{header}fire 0 1 2\ncafé 9.0 10 1.1e1\n. . 1 2 3\nfire 7 7 7\n', encoding='utf-8'
    )
    found = read_text_vectors(str(path))
    assert found.words == ['fire', 'café', '. .']
    np.testing.assert_array_equal(found.vectors, [[0, 1, 2], [9, 10, 11], [1, 2, 3]])
    assert read_text_vectors(str(path), {'café'}).words == ['café']


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('dog 1 2 3\ncat 1 2\n', 'line 2 has 3 fields; expected a word and 3 numbers'),
        ('dog 1 2 3\ncat 1 x 3\n', 'line 2 is not a word and 3 numbers'),
        ('dog\n', 'line 1 has 1 fields'),
        ('', 'none of the words'),
    ],
)
def test_malformed_text_vectors(tmp_path, text, problem):
    path = tmp_path / 'glove.txt'
    path.write_text(text)
    with pytest.raises(ValueError, match=rf'glove\.txt: .*{problem}'):
        read_text_vectors(str(path))


def test_names_and_words_of_files(tmp_path):
    path = tmp_path / 'objects_vocab.txt'
    path.write_text('fire hydrant\nlamp post,lamppost\n')
    assert read_names(str(path)) == ['fire hydrant', 'lamp post']
    assert words_to_keep(str(path)) == {'fire', 'hydrant', 'lamp', 'post', 'lamppost'}
    path.write_text('a\n\nb\n')
    with pytest.raises(ValueError, match='line 2 has no name'):
        read_names(str(path))
    with pytest.raises(FileNotFoundError, match='does not exist'):
        read_names(str(tmp_path / 'none.txt'))
    path.write_text('Fire_truck,T-shirt_sleeve\n,\n')
    assert words_to_keep(str(path)) == {',', 'fire', 'truck', 't-shirt', 't', 'shirt', 'sleeve'}
    path = tmp_path / 'vocab.json'
    path.write_text('["A", "two-part", "dog"]')
    assert words_to_keep(str(path)) == {'a', 'two-part', 'two', 'part', 'dog'}
