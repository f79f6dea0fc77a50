from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from small_jmceln import small_jmceln
from small_pbrec import expression
from small_ppmn import batch

from mmground.engine import ActivationCheckpointHook
from mmground.models.heads import LSRAN, ContextualStage, ProgressiveUpsampling, SentenceFusion
from mmground.models.heads.contextual_cascade_head import IGNORED
from mmground.registry import MODELS
from mmground.structures import Geometry

# A canvas of 64 x 96 pixels.
SHAPE, NARROW = (64, 96), (40, 96)


def _build(**head):
    torch.manual_seed(0)
    return MODELS.build(small_jmceln(**head))


def _pairs():
    """Three expressions for two images, of which one does not fill the canvas."""
    return [
        expression('a red star', (8.0, 8.0, 40.0, 56.0), img_shape=SHAPE),
        expression('the two blue rings', (50.0, 0.0, 96.0, 30.0), img_shape=SHAPE),
        expression('ring', (10.0, 4.0, 70.0, 36.0), 'b.jpg', NARROW),
    ]


def _data(model, pairs=None):
    return model.data_preprocessor(batch(*(pairs or _pairs())))


def test_losses_and_gradients():
    model = _build(loss_dice=dict(type='mmdet.DiceLoss')).train()
    losses = model(**_data(model), mode='loss')
    assert set(losses) == {'loss_ce', 'loss_dice', 'truncated_texts'}
    assert losses['truncated_texts'] == 0
    model.parse_losses(losses)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # What starts from the shortcuts alone learns nothing in the first step.
        if name.startswith('head.'):
            assert parameter.grad.any(), name


def test_half_precision():
    model = _build().train()
    with torch.autocast('cpu', torch.bfloat16):
        data = _data(model)
        feats, text = model.encode_image(data['inputs']), model.encode_text(data['data_samples'])
        assert feats[0].dtype == torch.bfloat16
        image_index, padding = model.head.place(feats, data['data_samples'])
        outputs = model.head.reason(feats, text.sentence, image_index, padding, True)
        assert {own.dtype for own in outputs} == {torch.float32}
        loss = model.parse_losses(model.head.loss(feats, text, data['data_samples']))[0]
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(own.grad.isfinite().all() for own in model.head.parameters())


def test_the_paper_fixes_the_defaults():
    with torch.device('meta'):
        head = MODELS.build(dict(type='ContextualCascadeHead'))
    assert len(head.stages) == 6 and head.context.weight.shape == (20, 1024)
    assert {type(part) for part in (head.fusion, head.lsran, head.upsampling)} == {
        SentenceFusion,
        LSRAN,
        ProgressiveUpsampling,
    }
    for stage in head.stages:
        assert isinstance(stage, ContextualStage)
        assert stage.context_attention.num_heads == stage.mask_attention.num_heads == 8
        assert type(stage.alignment.norm).__name__ == 'SwitchNorm2d'
    # Two attentions with projections of 1024 channels, a LayerNorm, PAN and its SwitchNorm.
    per_stage = 2 * 4 * (1024 * 1024 + 1024) + 2 * 1024 + 8_088_576 + 2 * 1024 + 6
    assert sum(own.numel() for own in head.stages.parameters()) == 6 * per_stage
    assert head.loss_dice is None and not head.mask_padding


def _ablations():
    """Settings, and what is left of the parts and of the data flow."""
    return {
        'baseline': dict(use_lsran=False, num_stages=0),
        'lsran': dict(num_stages=0),
        'cascade': dict(use_lsran=False, use_alignment=False),
        'no alignment': dict(use_alignment=False),
        'full': {},
        'not adaptive': dict(adaptive_context=False),
        'shared': dict(share_stages=True),
    }


@pytest.mark.parametrize('name', _ablations())
def test_the_flow_of_data(name):
    """The parts in the order of the paper, wired by hand."""
    settings = _ablations()[name]
    model = _build(**settings).train()
    head, data = model.head, _data(model)
    feats = model.encode_image(data['inputs'])
    sentence = model.encode_text(data['data_samples']).sentence.detach()
    image_index = torch.tensor([0, 0, 1])
    assert (head.lsran is None) == (not settings.get('use_lsran', True))
    assert hasattr(head, 'context') == bool(settings.get('num_stages', 2))
    assert len(head.stages) == (1 if name == 'shared' else settings.get('num_stages', 2))
    assert all((own.alignment is None) == ('use_alignment' in settings) for own in head.stages)
    model.eval()
    with torch.no_grad():
        outputs = head.reason(feats, sentence, image_index, all_stages=True)
        fused = head.fusion(feats, sentence, image_index)
        related = features = fused if 'use_lsran' in settings else head.lsran(fused)
        expected = [related]
        if settings.get('num_stages', 2):
            context = torch.stack([head.context.weight] * 3)
            for stage in [*head.stages] * (2 if name == 'shared' else 1):
                values = related if name == 'not adaptive' else features
                context, features = stage(context, fused, values, features)
                expected.append(features)
        assert len(outputs) == len(expected) == 1 + settings.get('num_stages', 2)
        for own, other in zip(outputs, expected, strict=True):
            torch.testing.assert_close(own, other)
        logits = head(feats, sentence, image_index, all_stages=True)
        assert logits.shape == (len(expected), 3, 2, *SHAPE)
        torch.testing.assert_close(logits[-1:], head(feats, sentence, image_index))
        torch.testing.assert_close(logits[0], head.upsampling(expected[0]))
    losses = model.train()(**data, mode='loss')
    model.parse_losses(losses)[0].backward()
    for key, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


def test_an_image_is_encoded_once_and_texts_do_not_mix():
    model = _build().eval()
    seen = []
    for part in (model.backbone, model.head.fusion.image_convs[0]):
        part.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    with torch.no_grad():
        together = model(**_data(model), mode='tensor')
        assert seen == [2, 2]
        pairs = _pairs()
        # Alone, the second image would have a smaller canvas.
        for index in (0, 1):
            alone = model(**_data(model, [pairs[index]]), mode='tensor')
            torch.testing.assert_close(together[:, index], alone[:, 0], atol=1e-5, rtol=1e-4)


def test_targets_and_loss_by_hand():
    pairs = _pairs()
    pairs[1][1].links = torch.zeros(0, 2, dtype=torch.int64)
    logits = torch.randn(3, 2, *SHAPE, generator=torch.Generator().manual_seed(0))
    foreground = logits.softmax(1)[:, 1]
    for mask_padding in (False, True):
        model = _build(mask_padding=mask_padding, loss_dice=dict(type='mmdet.DiceLoss', eps=0.5))
        samples = _data(model, pairs)['data_samples']
        targets = model.head.targets(samples, SHAPE)
        expected = torch.zeros(3, *SHAPE, dtype=torch.int64)
        expected[0, 8:56, 8:40] = 1
        expected[2, 4:36, 10:70] = 1
        if mask_padding:
            expected[2, 40:] = IGNORED
        assert torch.equal(targets, expected)
        losses = model.head.loss_by_feat(logits, targets)
        counted = targets != IGNORED
        chosen = torch.where(targets == 1, foreground, 1 - foreground)
        torch.testing.assert_close(losses['loss_ce'], -chosen[counted].log().mean())
        dice = []
        for own, target, seen in zip(foreground, targets, counted, strict=True):
            own, target = own[seen], target[seen]
            total = (own**2).sum() + (target**2).sum() + 2 * 0.5
            dice.append(1 - 2 * (own * target).sum() / total)
        torch.testing.assert_close(losses['loss_dice'], torch.stack(dice).mean())
    weighted = dict(type='mmdet.CrossEntropyLoss', class_weight=[0.9, 1.1], avg_non_ignore=True)
    losses = _build(loss_ce=weighted).head.loss_by_feat(logits, targets)
    weights = torch.where(targets == 1, 1.1, 0.9)[counted]
    torch.testing.assert_close(losses['loss_ce'], -(weights * chosen[counted].log()).mean())


def test_masked_padding():
    """Cells without any part of the image are padding, and Eq. 3 reads nothing there."""
    model = _build(mask_padding=True).train()
    data = _data(model)
    feats = model.encode_image(data['inputs'])
    image_index, padding = model.head.place(feats, data['data_samples'])
    expected = torch.zeros(2, 8, 12, dtype=torch.bool)
    expected[1, 5:] = True
    assert image_index.tolist() == [0, 0, 1] and torch.equal(padding, expected)
    reads = []
    for stage in model.head.stages:
        stage.context_attention.register_forward_pre_hook(
            lambda _, args, kwargs: reads.append(kwargs['key_padding_mask']), with_kwargs=True
        )
    losses = model(**data, mode='loss')
    assert len(reads) == 2
    for own in reads:
        assert torch.equal(own, expected[image_index].flatten(1))
    model.parse_losses(losses)[0].backward()
    assert all(own.grad.isfinite().all() for own in model.head.parameters())


def test_an_image_thinner_than_a_cell_is_not_all_padding():
    model = _build(mask_padding=True)
    (_, sample) = expression('ring', (10.0, 0.0, 20.0, 2.0), img_shape=(2, 64))
    geometry = Geometry((2, 64), (2, 64), (33, 0), canvas_shape=(64, 64))
    sample.set_metainfo(dict(geometry=geometry, image_index=0))
    _, padding = model.head.place([torch.zeros(1, 4, 8, 8)], [sample])
    assert not padding[0, 4].any() and padding[0].sum() == 7 * 8


def test_predictions():
    model = _build(test_cfg=dict(keep_stages=True)).eval()
    pairs = _pairs()
    _, sample = pairs[0]
    # Twice the size, mirrored.
    sample.set_metainfo(dict(ori_shape=(32, 48), geometry=Geometry((32, 48), SHAPE, flip=True)))
    data = _data(model, pairs)
    with torch.no_grad():
        logits = model(**data, mode='tensor')
        results = model(**data, mode='predict')
    for index, sample in enumerate(results):
        own = sample.pred_phrases
        assert len(own) == 1
        image = logits[:, index]
        if index == 0:
            image = F.interpolate(image.flip(-1), (32, 48), mode='bilinear')
        elif index == 2:
            image = image[..., :40, :]
        masks = image.argmax(1).bool()
        assert torch.equal(own.stage_masks, masks[None])
        assert torch.equal(own.masks, masks[-1:])
        probs = image[-1].softmax(0)[1]
        assert masks[-1].any()
        torch.testing.assert_close(own.scores, probs[masks[-1]].mean()[None])
        assert not own.truncated and not own.dropped
    model.head.test_cfg['keep_stages'] = False
    (plain, *_) = model(**_data(model), mode='predict')
    assert set(plain.pred_phrases.keys()) == {'masks', 'scores', 'truncated', 'dropped'}


def test_an_empty_mask_has_no_score():
    head = _build().head
    logits = torch.zeros(1, 1, 2, 8, 8)
    logits[:, :, 0] = 1
    _, sample = expression('ring', img_shape=(8, 8), gt=False)
    sample.set_metainfo(dict(geometry=Geometry((8, 8), (8, 8), canvas_shape=(8, 8))))
    for margin in (0.0, 1.0):
        logits[:, :, 1] = 1 - margin
        (result,) = head.predict_by_feat(logits, [sample])
        # Of two equal logits the first is the higher, as of argmax.
        assert not result.masks.any() and result.scores == 0


def test_texts_that_were_cut_off():
    model = _build()
    pairs = [expression('ring', img_shape=SHAPE), expression('red star ' * 12, img_shape=SHAPE)]
    assert model(**_data(model, pairs), mode='loss')['truncated_texts'] == 1
    results = model.eval()(**_data(model, pairs), mode='predict')
    assert [bool(sample.pred_phrases.truncated) for sample in results] == [False, True]


def test_checkpoint_round_trip(tmp_path):
    model = _build().train()
    # Statistics that are not those of the start.
    model(**_data(model), mode='loss')
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    torch.manual_seed(1)
    other = MODELS.build(small_jmceln())
    other.load_state_dict(torch.load(tmp_path / 'model.pth', weights_only=True))
    with torch.no_grad():
        expected, found = (
            own.eval()(**_data(own), mode='predict')[0].pred_phrases for own in (model, other)
        )
    assert torch.equal(found.masks, expected.masks) and torch.equal(found.scores, expected.scores)


@pytest.mark.parametrize('shared', [False, True])
def test_activation_checkpointing_changes_no_gradient(shared):
    gradients = []
    for frugal in (False, True):
        model = _build(share_stages=shared).train()
        if frugal:
            hook = ActivationCheckpointHook(['head.stages', 'head.lsran'])
            hook.before_train(SimpleNamespace(model=model))
        model.parse_losses(model(**_data(model), mode='loss'))[0].backward()
        gradients.append({name: own.grad for name, own in model.head.named_parameters()})
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, msg=name)


def test_wrong_settings_and_inputs():
    with pytest.raises(ValueError, match=r"no \['threshold'\]; it takes \['keep_stages'\]"):
        _build(test_cfg=dict(threshold=0.5))
    model = _build()
    data = _data(model)
    text = model.encode_text(data['data_samples'])
    text.sentence = None
    with pytest.raises(ValueError, match=r"no feature of whole sentences.*type='CLIPTextEncoder'"):
        model.head.loss(model.encode_image(data['inputs']), text, data['data_samples'])
    with pytest.raises(ValueError, match=r'logits are \(32, 48\).*canvas is \(64, 96\)'):
        model.head.targets(data['data_samples'], (32, 48))
    narrow = _build(upsampling=dict(channels=(8, 8)))
    with pytest.raises(ValueError, match='upsampling must double'):
        narrow(**_data(narrow), mode='loss')

    def two_phrases(sample):
        sample.set_metainfo(dict(phrases=[dict(text='a', span=(0, 1))] * 2))

    def no_masks(sample):
        sample.gt_regions = InstanceData(bboxes=sample.gt_regions.bboxes)

    def empty_mask(sample):
        sample.gt_regions.masks[:] = False

    for change, message in (
        (two_phrases, "'a.jpg:a red star' has 2 phrases"),
        (no_masks, "'a.jpg:a red star' has no masks: add LoadGroundingMasks"),
        (empty_mask, "'a.jpg:a red star': the referred mask has no pixel"),
    ):
        pairs = _pairs()
        change(pairs[0][1])
        with pytest.raises(ValueError, match=message):
            model.head.targets(_data(model, pairs)['data_samples'], SHAPE)
