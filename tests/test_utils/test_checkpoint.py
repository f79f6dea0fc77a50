import os
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook
from mmengine.model import BaseModel, PretrainedInit
from mmengine.runner import CheckpointLoader, Runner
from torch import nn
from torch.utils.data import Dataset

from mmground.utils.checkpoint import (
    load_weights,
    read_checkpoint,
    read_pickled,
    register_checkpoint_loaders,
)


class Payload:
    """Pickles to a call of ``os.mkdir``, as a malicious file would."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class GetattrPayload:
    """Pickles to a call of the built-in ``getattr`` on something harmless."""

    def __reduce__(self):
        return getattr, (torch.nn.Linear, 'forward')


class OneNumber(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.ones(1))


class Regression(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.layer(inputs).square().mean())


def test_reads_what_a_training_writes(tmp_path):
    model = Regression()
    runner = Runner(
        model,
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=OneNumber(),
            sampler=dict(type=DefaultSampler),
            batch_size=2,
            num_workers=0,
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=dict(type='OneCycleLR', eta_max=0.1, total_steps=4, by_epoch=False),
        default_hooks=dict(checkpoint=dict(type=CheckpointHook, interval=1)),
        experiment_name='a_training',
        default_scope='mmground',
        log_level='ERROR',
    )
    runner.train()
    path = tmp_path / 'epoch_2.pth'
    # The point of the test: the file does hold log buffers.
    full = torch.load(path, weights_only=False)
    assert full['message_hub']['log_scalars']
    assert full['param_schedulers'][0]['anneal_func'] is not None
    checkpoint = read_checkpoint(str(path))
    assert torch.equal(checkpoint['state_dict']['layer.weight'], model.layer.weight)
    assert checkpoint['meta']['epoch'] == 2
    for key in ('optimizer', 'param_schedulers'):
        assert str(checkpoint[key]) == str(full[key])


def test_a_plain_state_dict_is_a_checkpoint(tmp_path):
    path = tmp_path / 'plain.pth'
    torch.save(nn.Linear(2, 1).state_dict(), path)
    assert set(read_checkpoint(str(path))['state_dict']) == {'weight', 'bias'}


def test_code_in_a_file_runs_only_if_trusted(tmp_path):
    path, folder = tmp_path / 'evil.pth', tmp_path / 'made'
    torch.save(dict(state_dict=dict(a=torch.ones(1)), meta=Payload(folder)), path)
    with pytest.raises(ValueError, match=r'evil\.pth .*trust_checkpoint=True.*Reason: .*mkdir'):
        read_checkpoint(str(path))
    assert not folder.exists()
    read_checkpoint(str(path), trust_checkpoint=True)
    assert folder.exists()


def test_getattr_reaches_known_state_only(tmp_path):
    path = tmp_path / 'getattr.pth'
    torch.save(dict(state_dict=dict(a=torch.ones(1)), meta=GetattrPayload()), path)
    with pytest.raises(ValueError, match=r'trust_checkpoint=True.*Reason: .*Linear'):
        read_checkpoint(str(path))


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'absent\.pth does not exist'):
        read_checkpoint(str(tmp_path / 'absent.pth'))
    whole, cut, text, empty, numbers = (
        tmp_path / f'{name}.pth' for name in ('whole', 'cut', 'text', 'empty', 'numbers')
    )
    torch.save(dict(state_dict=nn.Linear(50, 50).state_dict()), whole)
    cut.write_bytes(whole.read_bytes()[:2000])
    text.write_text('<html>not found</html>')
    empty.write_bytes(b'')
    torch.save(dict(state_dict=dict(a=1)), numbers)
    for path in (cut, text, empty):
        for trust in (False, True):
            with pytest.raises(ValueError, match=rf'{path.name} .*(damaged|read)'):
                read_checkpoint(str(path), trust)
    with pytest.raises(ValueError, match=r'numbers\.pth holds no weights'):
        read_checkpoint(str(numbers))


def test_weights_load_or_the_difference_is_named():
    model, source = nn.Linear(3, 2), nn.Linear(3, 2)
    load_weights(model, dict(state_dict=source.state_dict()), 'a.pth')
    assert torch.equal(model.weight, source.weight)

    other = dict(weight=torch.ones(2, 3), **{f'head.{i}': torch.ones(1) for i in range(5)})
    checkpoint = dict(state_dict=other, meta=dict(experiment_name='drmn_r101'))
    with pytest.raises(ValueError) as caught:
        load_weights(model, checkpoint, 'b.pth')
    message = str(caught.value)
    assert 'checkpoint b.pth does not fit the Linear' in message
    assert '1 missing (bias)' in message
    assert '5 not in the model (head.0, head.1, head.2, ...)' in message
    assert '"drmn_r101"' in message

    with pytest.raises(ValueError, match=r'b\.pth does not fit.*size mismatch for weight'):
        load_weights(model, dict(state_dict=dict(weight=torch.ones(2, 4))), 'b.pth')


def test_numpy_numbers_are_plain_data(tmp_path):
    path, old = tmp_path / 'new.pth', tmp_path / 'old.pth'
    state = ('MT19937', np.arange(3, dtype=np.uint32), 3)
    torch.save(dict(state_dict=dict(a=torch.ones(1)), best=np.float64(0.5), random=state), path)
    # As written with NumPy 1.
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(old, 'w') as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith('data.pkl'):
                assert b'numpy._core.multiarray' in data
                data = data.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
            target.writestr(name, data)
    for file in (path, old):
        checkpoint = read_checkpoint(str(file))
        assert checkpoint['best'] == 0.5
        np.testing.assert_array_equal(checkpoint['random'][1], [0, 1, 2])


@pytest.fixture
def mmengine_loaders(monkeypatch):
    """Puts MMEngine's loaders back afterwards."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))


def test_mmengine_runs_code_only_if_trusted(tmp_path, mmengine_loaders):
    path, folder = tmp_path / 'evil.pth', tmp_path / 'made'
    weights = {'layer.weight': torch.full((1, 1), 3.0), 'layer.bias': torch.ones(1)}
    torch.save(dict(state_dict=weights, meta=Payload(folder)), path)
    register_checkpoint_loaders()
    for load in (CheckpointLoader.load_checkpoint, lambda name: PretrainedInit(name)(Regression())):
        with pytest.raises(ValueError, match=r'evil\.pth .*--trust-checkpoint'):
            load(str(path))
    assert not folder.exists()
    register_checkpoint_loaders(trust_checkpoint=True)
    model = Regression()
    PretrainedInit(str(path))(model)
    assert folder.exists()
    assert model.layer.weight.item() == 3


def test_a_config_in_a_checkpoint_is_not_executed(tmp_path, mmengine_loaders):
    path = tmp_path / 'a.pth'
    meta = dict(epoch=1, config='import os')
    torch.save(dict(state_dict=dict(a=torch.ones(1)), meta=meta), path)
    register_checkpoint_loaders()
    assert CheckpointLoader.load_checkpoint(str(path))['meta'] == dict(epoch=1)
    register_checkpoint_loaders(trust_checkpoint=True)
    assert CheckpointLoader.load_checkpoint(str(path))['meta'] == meta


def test_downloads_are_read_safely_too(tmp_path, monkeypatch, mmengine_loaders):
    remote, folder = tmp_path / 'remote', tmp_path / 'made'
    remote.mkdir()
    torch.save(dict(state_dict=dict(a=torch.ones(2))), remote / 'good.pth')
    torch.save(dict(state_dict=dict(a=torch.ones(2)), meta=Payload(folder)), remote / 'evil.pth')
    fetched = []

    def download(url, target, progress):
        fetched.append(url)
        Path(target).write_bytes((remote / Path(target).name).read_bytes())

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    monkeypatch.setattr(
        'mmground.utils.checkpoint.get_external_models',
        lambda: dict(new='https://zoo/good.pth', bad='http://zoo/evil.pth'),
    )
    monkeypatch.setattr(
        'mmground.utils.checkpoint.get_deprecated_model_names', lambda: dict(old='new', gone='no')
    )
    register_checkpoint_loaders()
    for address in ('https://host/x/good.pth?v=1', 'open-mmlab://new', 'openmmlab://old'):
        assert set(CheckpointLoader.load_checkpoint(address)['state_dict']) == {'a'}
    # As in torch.hub, a file that is there by name is not fetched again.
    assert fetched == ['https://host/x/good.pth?v=1']
    with pytest.raises(ValueError, match=r'evil\.pth .*--trust-checkpoint'):
        CheckpointLoader.load_checkpoint('open-mmlab://bad')
    assert not folder.exists()
    with pytest.raises(ValueError, match='open-mmlab://absent: its model zoo has no model'):
        CheckpointLoader.load_checkpoint('open-mmlab://absent')


@pytest.mark.parametrize('address', ['s3://a/b.pth', 'c:petrel://a/b.pth', 'pavi://a', 'mmcls://a'])
def test_other_addresses_are_refused(mmengine_loaders, address):
    register_checkpoint_loaders()
    with pytest.raises(ValueError, match=f'{address}: .*--trust-checkpoint'):
        CheckpointLoader.load_checkpoint(address)


def test_settings_of_a_command_line_are_plain_data(tmp_path):
    path = tmp_path / 'official.pth'
    torch.save(dict(model={'a': torch.ones(1)}, args=Namespace(lr=0.1, tasks=['box'])), path)
    assert vars(read_pickled(str(path))['args']) == dict(lr=0.1, tasks=['box'])
