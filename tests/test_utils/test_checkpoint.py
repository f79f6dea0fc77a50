import os

import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmground.utils.checkpoint import load_weights, read_checkpoint


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
        default_hooks=dict(checkpoint=dict(type=CheckpointHook, interval=1)),
        experiment_name='a_training',
        default_scope='mmengine',
        log_level='ERROR',
    )
    runner.train()
    path = tmp_path / 'epoch_2.pth'
    # The point of the test: the file does hold log buffers.
    full = torch.load(path, weights_only=False)
    assert full['message_hub']['log_scalars']
    checkpoint = read_checkpoint(str(path))
    assert torch.equal(checkpoint['state_dict']['layer.weight'], model.layer.weight)
    assert checkpoint['meta']['epoch'] == 2


def test_a_plain_state_dict_is_a_checkpoint(tmp_path):
    path = tmp_path / 'plain.pth'
    torch.save(nn.Linear(2, 1).state_dict(), path)
    assert set(read_checkpoint(str(path))['state_dict']) == {'weight', 'bias'}


def test_code_in_a_file_runs_only_if_trusted(tmp_path):
    path, folder = tmp_path / 'evil.pth', tmp_path / 'made'
    torch.save(dict(state_dict=dict(a=torch.ones(1)), meta=Payload(folder)), path)
    with pytest.raises(ValueError, match=r'evil\.pth .*trust_checkpoint=True'):
        read_checkpoint(str(path))
    assert not folder.exists()
    read_checkpoint(str(path), trust_checkpoint=True)
    assert folder.exists()


def test_getattr_reaches_log_buffers_only(tmp_path):
    path = tmp_path / 'getattr.pth'
    torch.save(dict(state_dict=dict(a=torch.ones(1)), meta=GetattrPayload()), path)
    with pytest.raises(ValueError, match='trust_checkpoint=True'):
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
