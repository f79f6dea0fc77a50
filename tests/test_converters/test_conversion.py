"""Whole files, small ones; those of the published sizes are in tests/test_parity."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_ppmn import build, small_ppmn

from mmground.apis import init_model
from mmground.converters import convert_checkpoint, merge_checkpoints, save_converted
from mmground.engine import FrozenWeightsHook
from mmground.registry import MODELS

PIECES = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *(f'word{i}' for i in range(15))]


@pytest.fixture
def vocab_file(tmp_path):
    path = tmp_path / 'vocab.txt'
    path.write_text('\n'.join(PIECES) + '\n')
    return str(path)


@pytest.fixture
def model(vocab_file):
    return build(vocab_file)


@pytest.fixture
def bert(model):
    """The text encoder's weights as BERT is published."""
    weights = {
        f'bert.{name}': value for name, value in model.text_encoder.model.state_dict().items()
    }
    weights['cls.predictions.bias'] = torch.ones(20)
    weights['bert.pooler.dense.weight'] = torch.ones(1, 1)
    weights['bert.pooler.dense.bias'] = torch.ones(1)
    return weights


@pytest.fixture
def convert_bert_file(tmp_path, vocab_file):
    def convert(weights, name='bert.bin', vocab_file=vocab_file, **kwargs):
        path = tmp_path / name
        if name.endswith('.safetensors'):
            save_file(weights, path)
        else:
            torch.save(weights, path)
        return convert_checkpoint('bert', str(path), small_ppmn(None), vocab_file, **kwargs)

    return convert


def _renamed(weights):
    return {
        name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace(
            '.LayerNorm.bias', '.LayerNorm.beta'
        ): value
        for name, value in weights.items()
    }


@pytest.mark.parametrize('name', ['bert.bin', 'model.safetensors'])
@pytest.mark.parametrize('old_names', [False, True])
def test_bert(model, bert, convert_bert_file, name, old_names):
    checkpoint = convert_bert_file(_renamed(bert) if old_names else bert, name)
    meta = checkpoint['meta']
    assert meta['system'] == 'bert'
    assert meta['source'] == name
    assert len(meta['sha256']) == 64
    assert meta['dropped'] == {'cls.predictions': 1, 'pooler.dense': 2}
    assert meta['num_dropped'] == 3
    expected = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith('text_encoder.')
    }
    weights = checkpoint['state_dict']
    assert weights.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(weights[key], value), key


def test_meta_is_plain_data(bert, convert_bert_file, tmp_path):
    path = tmp_path / 'new' / 'out.pth'
    save_converted(convert_bert_file(bert), str(path))
    assert torch.load(path, weights_only=True)['meta']['system'] == 'bert'
    assert [file.name for file in path.parent.iterdir()] == ['out.pth']


def test_every_difference_is_listed(bert, convert_bert_file):
    layer = 'bert.encoder.layer.0'
    del bert[f'{layer}.output.dense.bias'], bert[f'{layer}.output.LayerNorm.bias']
    bert[f'{layer}.output.dense.weight'] = torch.ones(3, 4)
    bert['bert.encoder.layer.1.output.dense.bias'] = torch.ones(24)
    with pytest.raises(ValueError) as caught:
        convert_bert_file(bert)
    message = str(caught.value)
    prefix = 'text_encoder.model.encoder.layer'
    assert 'bert.bin does not fit the model' in message
    assert f'2 missing: {prefix}.0.output.dense.bias, {prefix}.0.output.LayerNorm.bias' in message
    assert f'1 not in the model: {prefix}.1.output.dense.bias' in message
    assert (
        f'1 of another shape: {prefix}.0.output.dense.weight (3, 4) instead of (24, 24)' in message
    )


def test_unknown_and_double_names_are_listed(bert, convert_bert_file):
    with pytest.raises(
        ValueError, match=r'bert\.bin is not a BERT: 2 parameters.*: a\.b, visual\.c'
    ):
        convert_bert_file(bert | {'a.b': torch.ones(1), 'visual.c': torch.ones(1)})
    twice = bert | {'bert.embeddings.LayerNorm.gamma': torch.ones(24)}
    with pytest.raises(ValueError, match=r'two names: embeddings\.LayerNorm\.gamma'):
        convert_bert_file(twice)


def test_vocabulary_must_be_that_of_the_weights(bert, convert_bert_file, tmp_path):
    with pytest.raises(ValueError, match=r'bert\.bin holds a text encoder, but no vocabulary'):
        convert_bert_file(bert, vocab_file=None)
    with pytest.raises(FileNotFoundError, match=r'vocabulary absent\.txt does not exist'):
        convert_bert_file(bert, vocab_file='absent.txt')
    path = tmp_path / 'other.txt'
    for pieces, message in (
        (PIECES[:-1], r'other\.txt has 19 pieces but the weights have 20 embeddings'),
        ([*PIECES, 'more'], r'other\.txt has 21 pieces'),
        (['a', 'b'], r'other\.txt is no WordPiece vocabulary'),
    ):
        path.write_text('\n'.join(pieces))
        with pytest.raises(ValueError, match=message):
            convert_bert_file(bert, vocab_file=str(path))


def _detectron2(model):
    """The image encoder's weights as Detectron2 publishes them."""
    weights = {'pixel_mean': np.ones((3, 1, 1), np.float32)}
    for name, value in model.backbone.state_dict().items():
        if name.endswith('num_batches_tracked'):
            continue
        levels = name.split('.')
        if not levels[0].startswith('layer'):
            levels = ['stem', *levels]
        else:
            levels[0] = f'res{int(levels[0][5:]) + 1}'
        name = '.'.join(levels).replace('downsample.0', 'shortcut')
        name = name.replace('downsample.1', 'shortcut.norm')
        for index in '123':
            name = name.replace(f'bn{index}', f'conv{index}.norm')
        weights[f'backbone.bottom_up.{name}'] = value.numpy()
    for name, value in model.neck[0].state_dict().items():
        kind, level, _, which = name.split('.')
        kind = 'lateral' if kind == 'lateral_convs' else 'output'
        weights[f'backbone.fpn_{kind}{int(level) + 2}.{which}'] = value.numpy()
    return weights


@pytest.fixture
def fpn_file(tmp_path, model):
    path = tmp_path / 'model.pkl'
    path.write_bytes(pickle.dumps(dict(model=_detectron2(model), __author__='someone'), 2))
    return str(path)


def test_detectron2(model, fpn_file):
    checkpoint = convert_checkpoint('detectron2-panoptic-fpn', fpn_file, small_ppmn(None))
    assert checkpoint['meta']['dropped'] == {'pixel_mean': 1}
    weights = checkpoint['state_dict']
    expected = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(('backbone.', 'neck.0.'))
    }
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name


def test_parts_together(model, fpn_file, bert, convert_bert_file, tmp_path, vocab_file):
    """What an inference needs is all three parts; what a training starts from, two."""
    fpn, text, head, whole = (
        str(tmp_path / f'{name}.pth') for name in ('fpn', 'text', 'head', 'w')
    )
    save_converted(convert_checkpoint('detectron2-panoptic-fpn', fpn_file, small_ppmn(None)), fpn)
    save_converted(convert_bert_file(bert), text)
    own = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(('head.', 'neck.1.'))
    }
    torch.save(own, head)
    merged = merge_checkpoints([fpn, text, head])
    assert [origin['file'] for origin in merged['meta']['merged']] == [
        'fpn.pth',
        'text.pth',
        'head.pth',
    ]
    assert merged['meta']['merged'][1]['source'] == 'bert.bin'
    save_converted(merged, whole)
    # No vocabulary file: the checkpoint carries it.
    loaded = init_model(dict(model=small_ppmn(None)), whole)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert len(loaded.text_encoder.tokenizer) == 20
    with pytest.raises(
        ValueError, match=r'text\.pth has weights that another file has too: text_enc'
    ):
        merge_checkpoints([text, fpn, text])


@pytest.mark.parametrize('system', ['ppmn', 'detectron2-panoptic-fpn', 'bert'])
def test_files_of_another_kind_are_one_error(system, tmp_path, vocab_file):
    def convert(data):
        path = tmp_path / 'file'
        path.write_bytes(data)
        return convert_checkpoint(system, str(path), small_ppmn(None), vocab_file)

    torch.save(dict(state_dict={'visual.weight': torch.ones(50, 50)}), tmp_path / 'other.pth')
    other = (tmp_path / 'other.pth').read_bytes()
    array = dict(model={'visual.weight': np.ones((50, 50))})
    pickled = pickle.dumps(array)
    for data in (b'', b'<html>', other, other[:2000], pickled, pickled[:500], pickle.dumps([1])):
        with pytest.raises(
            ValueError, match=r'^(checkpoint |pickle )?/.*/file (is no|is damaged|holds|cannot)'
        ):
            convert(data)


def test_ppmn_names_the_part_of_a_problem(tmp_path, vocab_file):
    path = tmp_path / 'ppmn.pth'
    wrong = dict(
        model_state={'module.a': torch.ones(1)},
        fpn_model_state={'module.pixel_mean': torch.ones(1)},
        bert_model_state={'module.b': torch.ones(1)},
    )
    torch.save(wrong, path)
    message = r'not an official PPMN.*bert_model_state: 1 param.*: b; model_state: 1 param.*: a'
    with pytest.raises(ValueError, match=message):
        convert_checkpoint('ppmn', str(path), small_ppmn(None), vocab_file)


def test_parts_initialise_a_model_by_prefix(model, fpn_file, bert, convert_bert_file, tmp_path):
    """Without merging: ``init_cfg`` of each part."""
    fpn, text = str(tmp_path / 'fpn.pth'), str(tmp_path / 'text.pth')
    save_converted(convert_checkpoint('detectron2-panoptic-fpn', fpn_file, small_ppmn(None)), fpn)
    save_converted(convert_bert_file(bert), text)
    cfg = small_ppmn(None, frozen=['backbone', 'neck.0', 'text_encoder'])
    for part, prefix, path in (
        (cfg['backbone'], 'backbone', fpn),
        (cfg['neck'][0], 'neck.0', fpn),
        (cfg['text_encoder'], 'text_encoder', text),
    ):
        part['init_cfg'] = dict(type='Pretrained', checkpoint=path, prefix=prefix)
    started = MODELS.build(cfg)
    started.init_weights()
    for name, value in model.state_dict().items():
        if name.startswith(('backbone.', 'neck.0.', 'text_encoder.')):
            assert torch.equal(started.state_dict()[name], value), name
    FrozenWeightsHook().before_train(SimpleNamespace(model=started, _load_from=None))
