"""Files of small widths; one of the published layout is in tests/test_parity."""

import re

import pytest
import torch
from mmengine.config import Config
from small_clip import build_clip, published_clip, save_torchscript, small_clip
from torch import nn

from mmground.converters import convert_checkpoint, read_clip, save_converted
from mmground.registry import MODELS
from mmground.utils.checkpoint import file_sha256


@pytest.fixture(scope='module')
def model():
    return build_clip()


def _expected(model):
    """The model's weights, rounded as the published ones are, without the connecting branch."""
    return {
        name: value.half().float() if value.ndim > 1 and 'embedding' not in name else value
        for name, value in model.state_dict().items()
        if '.connect.' not in name
    }


def _convert(weights, path, scripted=False, trust=False):
    if scripted:
        save_torchscript(weights, path)
    else:
        torch.save(weights, path)
    return convert_checkpoint('clip', str(path), small_clip(), trust_checkpoint=trust)


@pytest.mark.parametrize('counters', [True, False])
@pytest.mark.parametrize('form', ['plain', 'wrapped', 'inner', 'torchscript'])
def test_round_trip(model, tmp_path, form, counters):
    weights = published_clip(model, counters)
    if form == 'wrapped':
        weights = {f'module.{name}': value for name, value in weights.items()}
    if form == 'inner':
        weights = dict(state_dict=weights, epoch=3)
    scripted = form == 'torchscript'
    checkpoint = _convert(weights, tmp_path / 'clip.pt', scripted, trust=scripted)
    expected = _expected(model)
    found = checkpoint['state_dict']
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value), name
    meta = checkpoint['meta']
    assert meta['sha256'] == file_sha256(str(tmp_path / 'clip.pt'))
    dead = ['context_length', 'input_resolution', 'logit_scale', 'vocab_size']
    assert meta['dropped'] == dict.fromkeys(dead, 1)


def test_counters_stay(model, tmp_path):
    weights = published_clip(model)
    weights['visual.bn1.num_batches_tracked'] = torch.tensor(7)
    found = _convert(weights, tmp_path / 'clip.pt')['state_dict']
    assert found['backbone.bn1.num_batches_tracked'] == 7
    assert found['backbone.bn2.num_batches_tracked'] == 0


def test_a_connecting_branch_is_kept_whole(model, tmp_path):
    connect = {
        name.replace('backbone.', 'visual.'): value
        for name, value in model.state_dict().items()
        if '.connect.' in name
    }
    weights = published_clip(model) | connect
    found = _convert(weights, tmp_path / 'clip.pt')['state_dict']
    assert found.keys() == model.state_dict().keys()
    del weights['visual.attnpool.connect.1.running_var']
    del weights['visual.attnpool.connect.1.num_batches_tracked']
    with pytest.raises(ValueError, match=r'2 missing: backbone\.attnpool\.connect\.1\.running_var'):
        _convert(weights, tmp_path / 'clip.pt')


def test_every_difference_is_listed(model, tmp_path):
    weights = published_clip(model)
    del weights['visual.layer2.1.bn3.bias'], weights['text_projection']
    weights['visual.layer5.0.conv1.weight'] = torch.ones(1)
    weights['ln_final.bias'] = torch.ones(3)
    with pytest.raises(ValueError) as caught:
        _convert(weights, tmp_path / 'clip.pt')
    message = str(caught.value)
    for part in (
        'clip.pt does not fit the model',
        '2 missing: backbone.layer2.1.bn3.bias, text_encoder.text_projection',
        '1 not in the model: backbone.layer5.0.conv1.weight',
        '1 of another shape: text_encoder.ln_final.bias (3,) instead of (16,)',
    ):
        assert part in message


def test_other_files_are_refused(model, tmp_path):
    path = tmp_path / 'clip.pt'
    weights = published_clip(model)
    with pytest.raises(ValueError, match=r'not a CLIP with a ResNet: 1 parameters.*: head\.weight'):
        _convert(weights | {'head.weight': torch.ones(1)}, path)
    transformer = weights | {'visual.class_embedding': torch.ones(1)}
    with pytest.raises(ValueError, match='image encoder is a vision transformer'):
        _convert(transformer, path)
    for data in (b'', b'<html>'):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r'clip\.pt (cannot be read|is damaged)'):
            read_clip(str(path))
    with pytest.raises(FileNotFoundError, match=r'absent\.pt'):
        read_clip(str(tmp_path / 'absent.pt'))


class _Program(nn.Module):
    """Writes a file when it is loaded."""

    def __init__(self, path):
        super().__init__()
        self.path: str = path
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self):
        return self.path, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]):
        self.path = state[0]
        torch.save(state[1], state[0])
        self.weight = state[1]
        self.training = state[2]


def test_programs_of_unknown_archives_do_not_run(tmp_path):
    written, path = tmp_path / 'written', tmp_path / 'clip.pt'
    torch.jit.script(_Program(str(written))).save(str(path))
    with pytest.raises(ValueError, match=rf'{file_sha256(str(path))}.*--trust-checkpoint'):
        read_clip(str(path))
    assert not written.exists()
    assert list(read_clip(str(path), trust_checkpoint=True)) == ['weight']
    assert written.exists()


def test_published_archives_are_known_by_their_checksum(model, tmp_path, monkeypatch):
    path = tmp_path / 'clip.pt'
    save_torchscript(published_clip(model), path)
    monkeypatch.setitem(read_clip.__globals__['CLIP_RELEASES'], file_sha256(str(path)), 'ours')
    assert read_clip(str(path)).keys() == published_clip(model).keys()


def test_the_command(model, tmp_path, convert, capsys, monkeypatch):
    config, out = str(tmp_path / 'small.py'), str(tmp_path / 'out.pth')
    Config(dict(model=small_clip())).dump(config)
    path = tmp_path / 'RN.pt'
    save_torchscript(published_clip(model), path)
    argv = ['clip', str(path), out, '--config', config]
    with pytest.raises(SystemExit, match=r'^error: .*RN\.pt is a TorchScript archive, but none of'):
        convert(argv)
    convert([*argv, '--trust-checkpoint'])
    printed, checksum = capsys.readouterr().out, file_sha256(str(path))
    assert f"RN.pt: SHA-256 {checksum}, not OpenAI's RN50 or OpenAI's RN101 as pub" in printed
    number = len(_expected(model))
    assert re.search(rf'wrote {number} tensors, dropped 4: .*out\.pth', printed)
    monkeypatch.setitem(read_clip.__globals__['CLIP_RELEASES'], checksum, 'the small one')
    convert(argv)
    assert f'RN.pt: SHA-256 {checksum}, the small one\n' in capsys.readouterr().out


def test_parts_initialise_encoders_by_prefix(model, tmp_path):
    """And the text encoder then needs nothing else."""
    path = str(tmp_path / 'clip.pth')
    save_converted(_convert(published_clip(model), tmp_path / 'clip.pt'), path)
    expected = _expected(model)
    for name, cfg in small_clip().items():
        part = MODELS.build(
            dict(cfg, init_cfg=dict(type='Pretrained', checkpoint=path, prefix=name))
        )
        connect = {
            key: value.clone() for key, value in part.state_dict().items() if '.connect.' in key
        }
        part.init_weights()
        for key, value in part.state_dict().items():
            assert torch.equal(value, expected.get(f'{name}.{key}', connect.get(key))), key
    assert part(['a red star']).sentence.shape == (1, 24)


@pytest.mark.parametrize('name', ['clip_r101', 'clip_r50'])
def test_the_published_sizes_agree(config_dir, name):
    """What images and texts share has as many channels for both."""
    cfg = Config.fromfile(config_dir / '_base_' / 'models' / f'{name}.py').model
    with torch.device('meta'):
        backbone, text_encoder = MODELS.build(cfg.backbone), MODELS.build(cfg.text_encoder)
    assert backbone.attnpool.c_proj.out_features == text_encoder.sentence_channels
    assert len(backbone.layer3) == dict(clip_r101=23, clip_r50=6)[name]
