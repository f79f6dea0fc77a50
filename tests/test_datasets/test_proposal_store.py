import multiprocessing
import os
import pickle
import signal
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from mmground.datasets.proposal_store import ProposalStore, ProposalWriter

HEADER = dict(detector='faster-rcnn', classes=['ball', 'box'], config_hash='abc', num=50)


def proposals(count=3, seed=0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 50, (count, 2))
    return dict(
        boxes=np.hstack([corners, corners + rng.uniform(1, 30, (count, 2))]).astype(np.float32),
        labels=rng.integers(0, 2, count),
        scores=np.sort(rng.uniform(0, 1, count).astype(np.float32))[::-1].copy(),
    )


def assert_same(found, expected):
    assert set(found) == {'boxes', 'labels', 'scores'}
    for key, dtype in (('boxes', np.float32), ('labels', np.int64), ('scores', np.float32)):
        assert found[key].dtype == dtype
        np.testing.assert_array_equal(found[key], expected[key])


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'new folder' / 'proposals.db')


def test_what_is_written_is_read(path):
    own = {'a': proposals(), 'b/c?d': proposals(5, 1), 'none': proposals(0)}
    with ProposalWriter(path, HEADER) as writer:
        writer.add([('a', own['a']), ('none', own['none'])])
        writer.add([('b/c?d', own['b/c?d'])])
        assert writer.done() == set(own)
    store = ProposalStore(path)
    assert store.header == HEADER and len(store) == 3
    assert store.img_ids() == ['a', 'b/c?d', 'none']
    for img_id, expected in own.items():
        assert img_id in store
        assert_same(store[img_id], expected)
    assert store['none']['boxes'].shape == (0, 4)
    assert 'x' not in store
    with pytest.raises(KeyError, match='x'):
        store['x']
    store['a']['boxes'][:] = 0  # a copy, and one that can be changed
    assert_same(store['a'], own['a'])


def _read(store):
    return store['a']['boxes']


@pytest.mark.parametrize('start', ['fork', 'spawn'])
def test_other_processes_read_too(path, start):
    with ProposalWriter(path, HEADER) as writer:
        writer.add([('a', proposals())])
    store = ProposalStore(path)
    assert_same(pickle.loads(pickle.dumps(store))['a'], proposals())
    with multiprocessing.get_context(start).Pool(1) as pool:
        found = pool.apply(_read, (store,))
    np.testing.assert_array_equal(found, proposals()['boxes'])
    assert_same(store['a'], proposals())


def test_an_interrupted_file_is_continued(path):
    writer = ProposalWriter(path, HEADER)
    writer.add([('a', proposals())])
    with pytest.raises(ValueError, match='have shapes'):
        writer.add([('b', proposals()), ('c', dict(proposals(), labels=np.zeros(2, int)))])
    writer._connection.close()
    assert ProposalStore(path).img_ids() == ['a']
    with ProposalWriter(path, HEADER) as writer:
        assert writer.done() == {'a'}
        writer.add([('b', proposals(2))])
        with pytest.raises(ValueError, match="added twice, among \\['d', 'b'\\]"):
            writer.add([('d', proposals(2)), ('b', proposals(2))])
    assert ProposalStore(path).img_ids() == ['a', 'b']


def _write_half(path):
    writer = ProposalWriter(path, HEADER)
    writer.add([('a', proposals())])
    connection = writer._connection
    # More than what is kept in memory, so that a part is in the file.
    connection.execute('PRAGMA cache_size = 10')
    rows = ((f'half {i}', b'0' * 4000, b'', b'') for i in range(200))
    connection.executemany('INSERT INTO proposals VALUES (?, ?, ?, ?)', rows)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_file_whose_writer_was_killed_is_continued(path):
    process = multiprocessing.get_context('spawn').Process(target=_write_half, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert Path(f'{path}-journal').exists()
    with pytest.raises(ValueError, match='its writer was interrupted; run it again'):
        ProposalStore(path)
    with ProposalWriter(path, HEADER) as writer:
        assert writer.done() == {'a'}
        writer.add([('b', proposals(2))])
    assert ProposalStore(path).img_ids() == ['a', 'b']
    assert_same(ProposalStore(path)['a'], proposals())


def test_files_of_others_are_left_alone(path):
    with ProposalWriter(path, HEADER) as writer:
        writer.add([('a', proposals())])
    with pytest.raises(ValueError, match=r'made otherwise \(config_hash, num\)'):
        ProposalWriter(path, dict(HEADER, config_hash='d', num=20))
    assert 'a' in ProposalStore(path)
    with ProposalWriter(path, dict(HEADER, num=20), overwrite=True) as writer:
        assert writer.done() == set()
    with pytest.raises(ValueError, match=r"lacks \['classes'\]"):
        ProposalWriter(path, dict(detector='', config_hash=''))


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        (dict(boxes=np.zeros((3, 5))), 'shapes'),
        (dict(scores=np.ones((3, 1))), 'shapes'),
        (dict(scores=np.array([0.5, np.nan, 0.1])), 'not finite'),
        (dict(boxes=np.array([[0, 0, np.inf, 1]] * 3)), 'not finite'),
        (dict(boxes=np.array([[0, 0, 0, 1]] * 3)), 'without area'),
        (dict(labels=np.array([0, 1, 2])), 'none of the 2 classes'),
        (dict(labels=np.array([0, -1, 1])), 'none of the 2 classes'),
        (dict(scores=np.array([0.1, 0.5, 0.2])), 'increase'),
    ],
)
def test_bad_proposals(path, change, problem):
    with ProposalWriter(path, HEADER) as writer:
        with pytest.raises(ValueError, match=f"image 'a' have .*{problem}"):
            writer.add([('a', {**proposals(), **change})])
        assert not writer.done()


def test_the_order_of_a_source_is_kept(path):
    own = dict(proposals(), scores=np.array([0.1, 0.5, 0.2], np.float32))
    with ProposalWriter(path, dict(HEADER, order='source')) as writer:
        writer.add([('a', own)])
    assert_same(ProposalStore(path)['a'], own)
    with pytest.raises(ValueError, match=r'made otherwise \(order\)'):
        ProposalWriter(path, HEADER)


def test_no_store(tmp_path, path):
    with pytest.raises(FileNotFoundError, match=r'do not exist; write it with .*extract_proposals'):
        ProposalStore(path)
    text = tmp_path / 'text.db'
    text.write_text('no database')
    with pytest.raises(ValueError, match=r'text\.db: the file holds no proposals'):
        ProposalStore(str(text))
    with pytest.raises(ValueError, match=r'text\.db: the file holds no proposals'):
        ProposalWriter(str(text), HEADER)
    assert text.read_text() == 'no database'
    other = sqlite3.connect(tmp_path / 'other.db')
    other.execute('CREATE TABLE header (content TEXT)')
    other.commit()
    with pytest.raises(ValueError, match=r'other\.db: .*it has no header'):
        ProposalStore(str(tmp_path / 'other.db'))
    other.execute('INSERT INTO header VALUES (\'{"version": 9}\')')
    other.commit()
    with pytest.raises(ValueError, match='it is of version 9'):
        ProposalStore(str(tmp_path / 'other.db'))
