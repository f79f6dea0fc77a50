import pytest
from mmengine.fileio import LocalBackend, get_file_backend

from mmground.engine import AtomicLocalBackend


def test_writes_and_replaces(tmp_path):
    backend = get_file_backend(str(tmp_path), backend_args=dict(backend='atomic'))
    assert type(backend) is AtomicLocalBackend
    path = tmp_path / 'folder/iter_1.pth'
    for content in (b'first', b'second'):
        backend.put(content, str(path))
        assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == ['iter_1.pth']


def test_a_writer_that_is_stopped_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'iter_1.pth'
    path.write_bytes(b'complete')

    def put(self, obj, filepath):
        with open(filepath, 'wb') as file:
            file.write(obj[:2])
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalBackend, 'put', put)
    with pytest.raises(KeyboardInterrupt):
        AtomicLocalBackend().put(b'new content', str(path))
    assert path.read_bytes() == b'complete'
