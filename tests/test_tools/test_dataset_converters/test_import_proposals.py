import pickle

import numpy as np
import pytest
from tool_loader import load_tool

from mmground.datasets.proposal_store import ProposalStore


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    content = {}
    for img_id in range(300):
        corners = rng.uniform(0, 9, (4, 2))
        rows = np.hstack([corners, corners + 3, rng.uniform(size=(4, 1)), [[1], [0], [2], [2]]])
        content[str(img_id)] = dict(boxes=rows, img_scale=1.0)
    (tmp_path / 'precomp_annos.pkl').write_bytes(pickle.dumps(content))
    (tmp_path / 'names.txt').write_text('yolk\ntraffic light,lights\n')
    return content, *(str(tmp_path / name) for name in ('precomp_annos.pkl', 'p.db', 'names.txt'))


def test_import(files, capsys):
    content, source, out, names = files
    tool = load_tool('dataset_converters/import_proposals')
    tool(['reir', source, out, '--classes', names, '--num', '3'])
    printed = capsys.readouterr().out
    assert 'added proposals of 300 images' in printed
    assert 'left out 300 boxes: background' in printed
    store = ProposalStore(out)
    assert store.header['classes'] == ['yolk', 'traffic light']
    assert store.header['detector'] == 'reir' and len(store) == 300
    assert store.header['order'] == 'source'
    increasing = 0
    for img_id in map(str, range(0, 300, 50)):
        # As they come; the second is background.
        rows = content[img_id]['boxes'][[0, 2]]
        increasing += rows[0, 4] < rows[1, 4]
        np.testing.assert_allclose(store[img_id]['boxes'], rows[:, :4], rtol=1e-6)
        assert store[img_id]['labels'].tolist() == (rows[:, 5] - 1).tolist()
    assert increasing
    with pytest.raises(ValueError, match='added twice'):
        tool(['reir', source, out, '--classes', names, '--num', '3'])
    with pytest.raises(ValueError, match=r'made otherwise \(first_label\)'):
        tool(['reir', source, out, '--classes', names, '--num', '3', '--first-label', '0'])
    tool(['reir', source, out, '--classes', names, '--overwrite'])
    assert len(ProposalStore(out)['0']['boxes']) == 3


def test_errors(files, tmp_path, capsys):
    _, source, out, names = files
    tool = load_tool('dataset_converters/import_proposals')
    with pytest.raises(SystemExit) as stop:
        tool(['reir', source, out, '--classes', 'none.txt'])
    assert stop.value.code == 2 and 'file of names' in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        tool(['npz', str(tmp_path), out, '--classes', names])
    assert stop.value.code == 2 and '--first-label' in capsys.readouterr().err
    (tmp_path / 'names.txt').write_text('yolk\n')
    with pytest.raises(ValueError, match='none of the 1 classes'):
        tool(['reir', source, out, '--classes', names])
