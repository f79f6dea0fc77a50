"""PPMN against numbers of the official implementation.

The weights are generated in the published layout and come through the same key mapping
as a published checkpoint. Every size is read from the arrays.
"""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from parity_data import ParityData

from mmground.converters import (
    convert_bert,
    convert_detectron2_fpn,
    convert_ppmn,
    convert_ppmn_head,
)
from mmground.models.heads.phrase_pixel_head import upsample_by_two
from mmground.registry import MODELS

CASES = ('forward_a', 'forward_b')


@pytest.fixture(scope='module')
def model(config_dir, parity):
    """The full recipe's model, with the rounds of the data."""
    cfg = Config.fromfile(config_dir / 'ppmn' / 'ppmn_r101-fpn_4xb12-14e_png.py').model
    cfg.head.num_rounds = int(parity.arrays(CASES[0])['num_stages'])
    return MODELS.build(cfg).eval()


@pytest.fixture(scope='module')
def parity():
    return ParityData('ppmn')


@pytest.fixture(scope='module')
def official(parity):
    """A whole checkpoint of the published layout, with the prefix of its distributed wrapper."""

    def wrapped(name):
        return {f'module.{key}': value for key, value in parity.state_dict(name).items()}

    return dict(
        model_state=wrapped('shapes'),
        fpn_model_state=wrapped('shapes_fpn'),
        bert_model_state=wrapped('shapes_bert'),
    )


@pytest.fixture(scope='module')
def loaded(model, official):
    """The model with the converted checkpoint, loaded strictly."""
    weights, _ = convert_ppmn(official)
    model.load_state_dict(weights, strict=True)
    return model


def _forward(model, arrays):
    for matching_round in model.head.rounds:
        matching_round.refinement.num_points = int(arrays['num_points'])
    levels = [torch.from_numpy(arrays[f'p{i}']) for i in range(2, 6)]
    text = torch.from_numpy(arrays['text'])[0]
    with torch.no_grad():
        feats = model.neck[1](levels)
        maps = model.head(feats, text, torch.zeros(len(text), dtype=torch.int64))
    return [upsample_by_two(logits) for logits in maps]


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
        single = [loaded.head((own,), text, zeros) for own in feats]
        index = torch.cat((zeros, zeros + 1))
        packed = loaded.head((torch.cat(feats),), text.repeat(2, 1), index)
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
        'mmground.models.heads.phrase_pixel_head.upsample_by_two', lambda logits: logits
    )
    probs = loaded.head.predict_by_feat(logits, phrase_index, len(bounds) - 1)
    torch.testing.assert_close(
        probs, torch.from_numpy(arrays['phrase_probs']).float(), atol=1e-6, rtol=0
    )
    np.testing.assert_array_equal((probs > 0.5).numpy(), arrays['phrase_masks'] > 0)


def test_dead_parameters_are_the_known_half(official):
    weights, dead = convert_ppmn_head(official['model_state'])
    assert len(weights) == 115
    assert sum(value.numel() for value in weights.values()) == 9_398_528
    assert len(weights) + len(dead) == len(official['model_state'])


def test_image_encoder(model):
    parity = ParityData('drmn')
    arrays = parity.arrays('image_encoder')
    weights, dead = convert_detectron2_fpn(parity.state_dict('shapes_image_encoder'))
    assert sorted(dead) == ['pixel_mean', 'pixel_std']
    model.backbone.load_state_dict(_part(weights, 'backbone.'), strict=True)
    model.neck[0].load_state_dict(_part(weights, 'neck.0.'), strict=True)
    bgr = torch.from_numpy(arrays['bgr'])
    preprocessor = model.data_preprocessor
    normalized = (bgr.float() - preprocessor.mean) / preprocessor.std
    torch.testing.assert_close(
        normalized, torch.from_numpy(arrays['normalized']), atol=1e-5, rtol=0
    )
    with torch.no_grad():
        levels = model.neck[0](model.backbone(normalized[None]))
    for level, feats in enumerate(levels):
        expected = torch.from_numpy(arrays[f'p{level + 2}'])
        torch.testing.assert_close(feats, expected, atol=5e-2, rtol=0)


def test_text_encoder(model):
    parity = ParityData('pbrec')
    arrays = parity.arrays('forward')
    weights, _ = convert_bert(
        {name: value for name, value in parity.state_dict().items() if name.startswith('bert.')}
    )
    model.text_encoder.load_state_dict(weights, strict=True)
    with torch.no_grad():
        hidden = model.text_encoder.encode(
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
