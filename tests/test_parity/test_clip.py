"""CLIP's encoders, as CRIS adapts them, and SwitchNorm against numbers of official code.

The weights are generated in the published file's layout, as a TorchScript archive, and come through
the conversion command.
"""

import json

import pytest
import torch
from mmengine.config import Config
from parity_data import ParityData
from small_clip import save_torchscript

from mmground.converters import convert_checkpoint
from mmground.models.layers import SwitchNorm2d
from mmground.models.text_encoders.clip_tokenizer import END_ID, START_ID, clip_pieces
from mmground.registry import MODELS
from mmground.utils.checkpoint import read_checkpoint

CASES = ('square', 'tall')


@pytest.fixture(scope='module')
def parity():
    return ParityData('clip')


@pytest.fixture(scope='module')
def config(config_dir):
    return Config.fromfile(config_dir / '_base_' / 'models' / 'clip_r101.py').model


@pytest.fixture(scope='module')
def encoders(parity, config, convert, folder):
    """Image and text encoder, loaded strictly."""
    archive, path = folder / 'RN101.pt', folder / 'clip.pth'
    sizes = dict(input_resolution=224, context_length=77, vocab_size=49408)
    weights = parity.state_dict() | parity.state_dict('shapes_cris_extra')
    weights |= {name: torch.tensor(size) for name, size in sizes.items()}
    save_torchscript(weights, archive)
    del weights
    convert(['clip', str(archive), str(path), '--trust-checkpoint'])
    archive.unlink()
    weights = read_checkpoint(str(path))['state_dict']
    path.unlink()
    parts = {}
    for name in ('backbone', 'text_encoder'):
        parts[name] = MODELS.build(config[name]).eval()
        own = {
            key.removeprefix(f'{name}.'): weights.pop(key)
            for key in list(weights)
            if key.startswith(f'{name}.')
        }
        parts[name].load_state_dict(own, strict=True)
    assert weights == {}
    return parts


@pytest.fixture(scope='module')
def compare(parity):
    """Compare with an array of a case, within what is suggested with the data."""
    tolerances = json.loads((parity.root / 'tolerance.json').read_text())

    def check(ours, case, name, theirs):
        theirs = torch.from_numpy(theirs)
        atol = 10 * tolerances[f'{case}.npz'][name] + 1e-5 * theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)

    return check


@pytest.mark.parametrize('case', CASES)
def test_image_encoder(case, encoders, parity, compare):
    arrays, kept = parity.arrays('image'), {}
    backbone = encoders['backbone']
    hook = backbone.layer4.register_forward_hook(lambda *args: kept.update(layer4=args[-1]))
    with torch.no_grad():
        maps = backbone(torch.from_numpy(arrays[f'{case}.image']))
    hook.remove()
    kept |= dict(zip(('layer2', 'layer3', 'attnpool'), maps, strict=True))
    for name, ours in kept.items():
        compare(ours, 'image', f'{case}.{name}', arrays[f'{case}.{name}'])
    assert backbone.out_channels == tuple(own.shape[1] for own in maps)


def test_attention_pool_on_a_larger_grid(encoders, parity, compare):
    arrays, pool = parity.arrays('image'), encoders['backbone'].attnpool
    across, along = (torch.from_numpy(arrays[f'pool.{name}']) for name in 'uv')
    x = (across[:, None, None] + along).relu()[None]
    with torch.no_grad():
        compare(pool(x), 'image', 'pool.out', arrays['pool.out'])
        ours = pool.resized_embedding(x.shape[-2:])[:32]
    name = 'pool.pos_embed_ch0_31'
    compare(ours, 'image', name, arrays[name])


def test_text_encoder(encoders, parity, compare):
    arrays = parity.arrays('text')
    ids, ends = (torch.from_numpy(arrays[name]) for name in ('ids', 'eot_index'))
    with torch.no_grad():
        words, sentence = encoders['text_encoder'].encode(ids, ends + 1)
    compare(words, 'text', 'words', arrays['words'])
    compare(sentence, 'text', 'sentence', arrays['sentence'])


def test_texts_through_tokenizer_and_encoder(encoders, parity, compare):
    """As the features of texts, whose batch is padded to the longest one only."""
    arrays = parity.arrays('text')
    texts = {
        tuple(phrase['ids']): phrase['text']
        for phrase in json.loads((parity.root / 'tokens.json').read_text())['phrases']
    }
    known = [row for row, ids in enumerate(arrays['ids'].tolist()) if tuple(ids) in texts]
    assert known
    with torch.no_grad():
        for row in known:
            features = encoders['text_encoder']([texts[tuple(arrays['ids'][row].tolist())]])
            compare(features.sentence[0], 'text', 'sentence', arrays['sentence'][row])
            length = features.pieces.shape[1]
            assert length == arrays['eot_index'][row] + 1
            compare(features.pieces[0], 'text', 'words', arrays['words'][row, :length])


def test_tokenizer(encoders, parity):
    tokens = json.loads((parity.root / 'tokens.json').read_text())
    assert (tokens['start_id'], tokens['end_id']) == (START_ID, END_ID)
    encoder = encoders['text_encoder']
    assert encoder.max_length == tokens['context_length']
    phrases = tokens['phrases']
    texts = [phrase['text'] for phrase in phrases]
    assert [len(clip_pieces(text)) for text in texts] == [own['pieces'] for own in phrases]
    ids, lengths, _, truncated = encoder.tokenize(texts)
    assert ids.tolist() == [own['ids'][: ids.shape[1]] for own in phrases]
    assert not any(sum(own['ids'][ids.shape[1] :]) for own in phrases)
    assert lengths.tolist() == [own['ids'].index(END_ID) + 1 for own in phrases]
    assert truncated.tolist() == [own['truncated'] for own in phrases]
    for own in phrases:
        assert encoder.tokenize([own['text']])[0][0].tolist() == [i for i in own['ids'] if i]


def test_the_published_layout_in_half_precision(parity, config, folder):
    """A state dict as it is published: without the connecting branch, here without counters."""
    path = folder / 'RN101.pt'
    weights = {
        name: value.half()
        for name, value in parity.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    torch.save(weights, path)
    checkpoint = convert_checkpoint('clip', str(path), config)
    path.unlink()
    assert checkpoint['meta']['dropped'] == dict(logit_scale=1)
    found = checkpoint['state_dict']
    counters = [name for name in found if name.endswith('num_batches_tracked')]
    assert len(found) == len(weights) - 1 + len(counters) == len(parity.shapes()) - 1
    for name, value in weights.items():
        ours = name.replace('visual.', 'backbone.')
        ours = ours if ours != name else f'text_encoder.{name}'
        assert name == 'logit_scale' or torch.equal(found[ours], value.float()), name
    assert {value.dtype for name, value in found.items() if name not in counters} == {torch.float32}


def test_switch_norm(parity, compare):
    arrays = parity.arrays('switchnorm')
    x = torch.from_numpy(arrays['x'])
    compared = []
    for name, theirs in arrays.items():
        mix, *kind = name.split('.')
        if mix == 'stat' or kind not in (['biased', 'train'], ['biased', 'eval']):
            continue
        norm = SwitchNorm2d(x.shape[1])
        state = {key: arrays[key] for key in ('weight', 'bias', 'running_mean', 'running_var')}
        state |= {key: arrays[f'{mix}.{key}'] for key in ('mean_weight', 'var_weight')}
        norm.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
        norm.train(kind[1] == 'train')
        compare(norm(x).detach(), 'switchnorm', name, theirs)
        compared.append(name)
        moved = torch.from_numpy(arrays['running_mean'])
        if norm.training:
            moved = moved * 0.9 + torch.from_numpy(arrays['stat.biased.mean_bn']).flatten() * 0.1
        torch.testing.assert_close(norm.running_mean, moved)
    assert len(compared) == 7
