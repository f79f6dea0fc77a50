"""A grounder with localisers: what runs when, and what comes out."""

import copy
from types import SimpleNamespace

import pytest
import torch
from small_detectors import randomise, single_level_fcos, small_solo
from small_ppmn import batch, sample, small_ppmn, write_vocabulary

from mmground.engine import FrozenWeightsHook
from mmground.registry import MODELS


def _cfg(vocab_file, **changes):
    """A small PBREC-MT of 4 x 4 points on a canvas of 64 pixels."""
    base = small_ppmn(vocab_file)
    cfg = dict(
        type='Grounder',
        data_preprocessor=dict(
            type='GroundingDataPreprocessor',
            mean=[120.0, 110.0, 100.0],
            std=[60.0, 50.0, 40.0],
            bgr_to_rgb=True,
            pad_size_divisor=64,
        ),
        backbone=dict(
            type='mmdet.ResNet',
            depth=18,
            base_channels=8,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(2,),
        ),
        text_encoder=base['text_encoder'],
        head=dict(
            type='PointGroundingHead',
            in_channels=32,
            text_channels=24,
            channels=16,
            fusion=dict(
                type='VisionLanguageEncoder', num_layers=1, num_heads=2, feedforward_channels=16
            ),
            test_cfg=dict(topk=3),
        ),
        localisers=dict(
            box=dict(type='FCOSLocaliser', detector=single_level_fcos(), level=0),
            mask=dict(type='SOLOLocaliser', detector=small_solo()),
        ),
    )
    return {**cfg, **changes}


@pytest.fixture
def vocab_file(tmp_path):
    return write_vocabulary(tmp_path / 'vocab.txt')


def _build(vocab_file, **changes):
    torch.manual_seed(0)
    model = MODELS.build(_cfg(vocab_file, **changes))
    randomise(model.localisers)
    return model


def _expressions():
    pairs = [
        sample('[a red star]', path='a.jpg'),
        sample('[two blue rings]', path='b.jpg', img_shape=(64, 40), ori_shape=(32, 20)),
        sample('[a ring]', path='a.jpg'),
    ]
    for _, own in pairs:
        own.gt_regions.masks[:] = False
        own.gt_regions.masks[:, 4:14, 5:15] = True
        own.gt_regions.bboxes = torch.tensor([[5.0, 4.0, 15.0, 14.0]])
    return batch(*pairs)


def _count_calls(model):
    calls = {}
    for name, part in model.localisers.items():
        calls[name] = []
        part.register_forward_pre_hook(lambda _, args, own=calls[name]: own.append(len(args[0])))
    return calls


def test_localisers_run_once_for_each_image_and_for_predictions_only(vocab_file):
    model = _build(vocab_file)
    calls = _count_calls(model)
    model.train()
    losses = model(**model.data_preprocessor(_expressions()), mode='loss')
    model.parse_losses(losses)[0].backward()
    model.eval()
    with torch.no_grad():
        model(**model.data_preprocessor(_expressions()), mode='tensor')
    assert calls == dict(box=[], mask=[])
    results = model.test_step(_expressions())
    assert calls == dict(box=[2], mask=[2])
    for own in results:
        predicted = own.pred_phrases
        assert predicted.bboxes.shape == (1, 4)
        assert predicted.masks.shape == (1, *own.ori_shape)
        assert predicted.scores.shape == predicted.mask_scores.shape == (1,)
        height, width = own.ori_shape
        limit = torch.tensor([width, height, width, height])
        assert ((predicted.bboxes >= 0) & (predicted.bboxes <= limit)).all()


def test_predictions_are_those_of_the_localisation(vocab_file):
    """The same as putting the parts together by hand."""
    model = _build(vocab_file).eval()
    results = model.test_step(_expressions())
    data = model.data_preprocessor(_expressions())
    with torch.no_grad():
        logits = model(**data, mode='tensor')
        maps = {task: own[-1].unflatten(1, (4, 4)) for task, own in logits.items()}
        canvas = torch.zeros(2, 3, 64, 64)
        images = _expressions()['inputs']
        canvas[0, :, :40, :60], canvas[1, :, :, :40] = images[0], images[1]
        samples = data['data_samples']
        geometries = [samples[0].geometry, samples[1].geometry]
        proposals = {name: part(canvas, geometries) for name, part in model.localisers.items()}
        expected = model.head.localisation(maps, proposals, samples)
    for own, found in zip(results, expected, strict=True):
        torch.testing.assert_close(own.pred_phrases.bboxes, found.bboxes, atol=1e-3, rtol=0)
        assert torch.equal(own.pred_phrases.masks, found.masks)
        torch.testing.assert_close(own.pred_phrases.scores, found.scores)


def test_localisers_stay_frozen(vocab_file):
    model = _build(vocab_file).train()
    assert not any(module.training for module in model.localisers.box.modules())
    assert model.frozen == {'localisers.box', 'localisers.mask'}
    before = copy.deepcopy(model.localisers.state_dict())
    losses = model(**model.data_preprocessor(_expressions()), mode='loss')
    model.parse_losses(losses)[0].backward()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    optimizer.step()
    for name, value in model.localisers.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith('localisers.'), name


def test_localisers_are_in_the_checkpoint(vocab_file, tmp_path):
    model = _build(vocab_file).eval()
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    other = MODELS.build(_cfg(None)).eval()
    other.load_state_dict(torch.load(tmp_path / 'model.pth', weights_only=True), strict=True)
    for own, result in zip(
        model.test_step(_expressions()), other.test_step(_expressions()), strict=True
    ):
        assert torch.equal(own.pred_phrases.bboxes, result.pred_phrases.bboxes)
        assert torch.equal(own.pred_phrases.masks, result.pred_phrases.masks)


def test_random_localisers_are_refused(vocab_file, tmp_path):
    model = _build(vocab_file)
    runner = SimpleNamespace(model=model, _load_from=None)
    with pytest.raises(ValueError, match=r"\['localisers.box', 'localisers.mask'\] have random"):
        FrozenWeightsHook().before_train(runner)
    cfg = _cfg(vocab_file)
    for name, part in cfg['localisers'].items():
        part['checkpoint'] = str(tmp_path / f'{name}.pth')
        torch.save(model.localisers[name].detector.state_dict(), part['checkpoint'])
    started = MODELS.build(cfg)
    started.init_weights()
    for name, value in model.localisers.state_dict().items():
        assert torch.equal(started.localisers.state_dict()[name], value), name
    FrozenWeightsHook().before_train(SimpleNamespace(model=started, _load_from=None))


def test_without_localisers_only_points_are_predicted(vocab_file):
    model = _build(vocab_file, localisers=None).eval()
    (first, *_) = model.test_step(_expressions())
    assert 'bboxes' not in first.pred_phrases
    assert 'points_rec' in first.pred_phrases
    assert model.frozen == frozenset()


def test_proposals_without_scores(vocab_file):
    head = dict(_cfg(vocab_file)['head'], tasks=['rec'])
    model = _build(vocab_file, head=head).eval()
    with pytest.raises(ValueError, match=r"localisers \['mask'\] have no scores"):
        model.test_step(_expressions())
