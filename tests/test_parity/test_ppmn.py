"""PPMN against numbers of the official implementation.

The weights are generated in the published files' layout and come through the conversion
command, as published ones do. Every size is read from the arrays.
"""

import pickle

import numpy as np
import pytest
import torch
from parity_data import ParityData
from published import DEAD_OF_BERT, DEAD_OF_FPN
from small_ppmn import packed_queries

from mmground.apis import init_model, read_checkpoint
from mmground.models.heads.phrase_pixel_head import upsample

CASES = ('forward_a', 'forward_b')


@pytest.fixture(scope='module')
def parity():
    return ParityData('ppmn')


@pytest.fixture(scope='module')
def config(folder, config_dir, parity):
    """The full recipe, with the rounds of the data."""
    base = config_dir.resolve() / 'ppmn' / 'ppmn_r101-fpn_4xb12-14e_png.py'
    path = folder / 'config.py'
    rounds = int(parity.arrays(CASES[0])['num_stages'])
    path.write_text(f'_base_ = {str(base)!r}\nmodel = dict(head=dict(num_rounds={rounds}))\n')
    return path


@pytest.fixture(scope='module')
def converted(convert, publish, vocab_file, config, folder):
    """The whole checkpoint, through the command."""
    official, path = publish('ppmn'), folder / 'ppmn_mmground.pth'
    convert(['ppmn', str(official), str(path), '--vocab', str(vocab_file), '--config', str(config)])
    official.unlink()
    return path


@pytest.fixture(scope='module')
def loaded(converted, config):
    """The model with the converted checkpoint, loaded strictly."""
    return init_model(config, converted)


def _forward(model, arrays):
    for matching_round in model.head.rounds:
        matching_round.refinement.num_points = int(arrays['num_points'])
    levels = [torch.from_numpy(arrays[f'p{i}']) for i in range(2, 6)]
    text = torch.from_numpy(arrays['text'])[0]
    with torch.no_grad():
        feats = model.neck[1](levels)
        maps = model.head(feats, packed_queries(text, torch.zeros(len(text), dtype=torch.int64)))
    return [upsample(logits, 2) for logits in maps]


@pytest.mark.parametrize('case', CASES)
def test_maps_of_all_rounds(loaded, parity, case):
    arrays = parity.arrays(case)
    maps = _forward(loaded, arrays)
    assert len(maps) == int(arrays['num_stages']) + 1
    for level, logits in enumerate(maps):
        expected = torch.from_numpy(arrays[f'maps_{level}'])[0]
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_batch_of_both_cases_matches_single_images(loaded, parity):
    """Packing queries of several images changes nothing: each sees its own image only."""
    arrays = parity.arrays(CASES[0])
    levels = [torch.from_numpy(arrays[f'p{i}']) for i in range(2, 6)]
    text = torch.from_numpy(arrays['text'])[0]
    other = [level.flip(-1) for level in levels]
    with torch.no_grad():
        feats = [loaded.neck[1](own)[0] for own in (levels, other)]
        zeros = torch.zeros(len(text), dtype=torch.int64)
        single = [loaded.head((own,), packed_queries(text, zeros)) for own in feats]
        index = torch.cat((zeros, zeros + 1))
        packed = loaded.head((torch.cat(feats),), packed_queries(text.repeat(2, 1), index))
    for one, two, both in zip(*single, packed, strict=True):
        torch.testing.assert_close(both, torch.cat((one, two)), atol=1e-4, rtol=0)


def test_smoothing_matters_and_is_the_official_one(loaded, parity):
    arrays = parity.arrays(CASES[0])
    expected = torch.from_numpy(arrays[f'maps_{int(arrays["num_stages"])}'])[0]
    for matching_round in loaded.head.rounds:
        matching_round.refinement.smooth = False
    try:
        maps = _forward(loaded, arrays)
    finally:
        for matching_round in loaded.head.rounds:
            matching_round.refinement.smooth = True
    assert (maps[-1] - expected).abs().max() > 1e-2


def test_losses(loaded, parity):
    arrays = parity.arrays('loss')
    logits = torch.from_numpy(arrays['logits'])
    targets = torch.from_numpy(arrays['targets'])
    losses = [
        (loaded.head.loss_bce(level, targets), loaded.head.loss_dice(level, targets))
        for level in logits
    ]
    for level, (bce, dice) in enumerate(losses):
        assert bce.item() == pytest.approx(arrays['bce'][level], abs=1e-5)
        assert dice.item() == pytest.approx(arrays['dice'][level], abs=1e-5)
    total = sum(bce + dice for bce, dice in losses).item()
    assert total == pytest.approx(float(arrays['total']), abs=1e-5)


def test_token_filter_keeps_the_official_queries(parity):
    """The batch form with padded slots holds exactly the packed queries, in order."""
    arrays = parity.arrays('loss')
    keep = arrays['ann_types'] != 0
    np.testing.assert_array_equal(arrays['batch_logits'][:, keep], arrays['logits'])
    np.testing.assert_array_equal(arrays['batch_targets'][keep], arrays['targets'])


def test_phrase_pooling(loaded, parity, monkeypatch):
    arrays = parity.arrays('phrase_pooling')
    bounds = arrays['inter']
    phrase_index = torch.from_numpy(np.repeat(np.arange(len(bounds) - 1), np.diff(bounds)))
    logits = torch.from_numpy(arrays['token_logits'])[: len(phrase_index)]
    # The stored logits are at twice the resolution of F already.
    monkeypatch.setattr(
        'mmground.models.heads.phrase_pixel_head.upsample', lambda logits, scale: logits
    )
    probs = loaded.head.predict_by_feat(logits, phrase_index, len(bounds) - 1)
    torch.testing.assert_close(
        probs, torch.from_numpy(arrays['phrase_probs']).float(), atol=1e-6, rtol=0
    )
    np.testing.assert_array_equal((probs > 0.5).numpy(), arrays['phrase_masks'] > 0)


def test_dead_parameters_are_the_known_half(converted, parity):
    checkpoint = read_checkpoint(str(converted))
    live = {
        name: value
        for name, value in checkpoint['state_dict'].items()
        if name.startswith(('neck.1.', 'head.'))
    }
    assert len(live) == 115
    assert sum(value.numel() for value in live.values()) == 9_398_528
    meta = checkpoint['meta']
    assert (meta['system'], meta['source']) == ('ppmn', 'official_ppmn.pth')
    dropped = dict.fromkeys(('model_state', 'fpn_model_state', 'bert_model_state'), 0)
    for group, count in meta['dropped'].items():
        dropped[group.split('.')[0]] += count
    pooler = sum('pooler' in name for name in parity.shapes('shapes_bert'))
    assert pooler == 2
    assert dropped == dict(
        model_state=len(parity.shapes()) - len(live),
        fpn_model_state=len(DEAD_OF_FPN),
        bert_model_state=len(DEAD_OF_BERT) + pooler,
    )
    assert meta['num_dropped'] == sum(dropped.values())
    assert 'model_state.roi_head.mask_head.*.kernel_update_conv' in meta['dropped']


def test_a_converted_checkpoint_carries_its_vocabulary(loaded, vocab_file):
    pieces = vocab_file.read_text().split('\n')
    ids, *_ = loaded.text_encoder.tokenize(['A star piece9'])
    assert [pieces[index] for index in ids[0]] == ['[CLS]', 'a', 'star', 'piece9', '[SEP]']


def test_image_encoder(loaded, convert, folder):
    parity = ParityData('drmn')
    arrays = parity.arrays('image_encoder')
    published, path = folder / 'model_final.pkl', folder / 'fpn.pth'
    weights = {name: w.numpy() for name, w in parity.state_dict('shapes_image_encoder').items()}
    published.write_bytes(pickle.dumps(dict(model=weights, __author__='Detectron2'), protocol=2))
    convert(['detectron2-panoptic-fpn', str(published), str(path)])
    checkpoint = read_checkpoint(str(path))
    assert checkpoint['meta']['dropped'] == dict(pixel_mean=1, pixel_std=1)
    weights = checkpoint['state_dict']
    loaded.backbone.load_state_dict(_part(weights, 'backbone.'), strict=True)
    loaded.neck[0].load_state_dict(_part(weights, 'neck.0.'), strict=True)
    bgr = torch.from_numpy(arrays['bgr'])
    preprocessor = loaded.data_preprocessor
    normalized = (bgr.float() - preprocessor.mean) / preprocessor.std
    torch.testing.assert_close(
        normalized, torch.from_numpy(arrays['normalized']), atol=1e-5, rtol=0
    )
    with torch.no_grad():
        levels = loaded.neck[0](loaded.backbone(normalized[None]))
    for level, feats in enumerate(levels):
        expected = torch.from_numpy(arrays[f'p{level + 2}'])
        torch.testing.assert_close(feats, expected, atol=5e-2, rtol=0)


def test_text_encoder(loaded, convert, folder, vocab_file):
    parity = ParityData('pbrec')
    arrays = parity.arrays('forward')
    published, path = folder / 'pytorch_model.bin', folder / 'bert.pth'
    weights = {
        name: value for name, value in parity.state_dict().items() if name.startswith('bert.')
    }
    torch.save(weights, published)
    convert(['bert', str(published), str(path), '--vocab', str(vocab_file)])
    published.unlink()
    weights = read_checkpoint(str(path))['state_dict']
    loaded.text_encoder.load_state_dict(_part(weights, 'text_encoder.'), strict=True)
    with torch.no_grad():
        hidden = loaded.text_encoder.encode(
            torch.from_numpy(arrays['input_ids']), torch.from_numpy(arrays['text_mask']).long()
        )
    expected = torch.from_numpy(arrays['bert_hidden'])
    torch.testing.assert_close(hidden, expected, atol=2e-5, rtol=0)


def _part(weights, prefix):
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }
