import copy

import pytest
import torch
from small_clip import small_clip
from small_ppmn import batch, build, sample, small_ppmn, write_vocabulary
from small_reir import small_reir

from mmground.registry import MODELS


@pytest.fixture
def vocab_file(tmp_path):
    return write_vocabulary(tmp_path / 'vocab.txt')


def _batch():
    return batch(
        sample('[a red star] on [the grass]', path='a.jpg'),
        sample('[two blue rings]', path='b.jpg'),
        sample('[a ring]', path='a.jpg'),
    )


def _loss(model, data):
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    return model.parse_losses(losses)[0]


def test_every_trained_parameter_gets_a_finite_gradient(vocab_file):
    model = build(vocab_file).train()
    _loss(model, _batch()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A key's bias drops out of a softmax, so its gradient is zero in exact arithmetic.
        assert parameter.grad.any() or name.endswith('key.bias'), name


def test_frozen_parts_get_no_gradient_and_stay_in_eval_mode(vocab_file):
    model = build(vocab_file, frozen=['backbone', 'neck.0', 'text_encoder']).train()
    before = copy.deepcopy(model.state_dict())
    _loss(model, _batch()).backward()
    frozen = ('backbone.', 'neck.0.', 'text_encoder.')
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen), name
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(module.training for module in model.backbone.modules())
    assert not any(module.training for module in model.text_encoder.modules())
    assert model.head.training
    assert model.neck[1].training


def test_dropout_in_a_frozen_text_encoder_is_a_switch(vocab_file):
    frozen = ['backbone', 'neck.0', 'text_encoder']
    for dropout in ([], ['text_encoder']):
        model = build(vocab_file, frozen=frozen, dropout_in_frozen=dropout).train()
        data = model.data_preprocessor(_batch())['data_samples']
        once, again = model.encode_text(data).pieces, model.encode_text(data).pieces
        assert torch.equal(once, again) == (not dropout)
        assert not once.requires_grad
        model.eval()
        assert torch.equal(model.encode_text(data).pieces, model.encode_text(data).pieces)


def test_frozen_parts_run_in_half_precision_on_demand(vocab_file):
    frozen = ['backbone', 'neck.0', 'text_encoder']
    seen = {}
    losses, gradients = [], []
    for dtype in (None, 'bfloat16'):
        model = build(vocab_file, frozen=frozen, frozen_dtype=dtype).train()
        for name in ('backbone.conv1', 'neck.0', 'neck.1', 'head.query_proj'):
            model.get_submodule(name).register_forward_hook(
                lambda module, inputs, output, name=name: seen.__setitem__(name, (inputs, output))
            )
        loss = _loss(model, _batch())
        loss.backward()
        losses.append(loss.item())
        gradients.append(model.neck[1].out_conv.conv.weight.grad)
    assert seen['backbone.conv1'][1].dtype == torch.bfloat16
    assert {level.dtype for level in seen['neck.0'][1]} == {torch.bfloat16}
    assert {level.dtype for level in seen['neck.1'][0][0]} == {torch.float32}
    assert seen['head.query_proj'][0][0].dtype == torch.float32
    # The weights stay as they were, so the same loss comes out but for rounding.
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    cosine = torch.cosine_similarity(gradients[0].flatten(), gradients[1].flatten(), dim=0)
    assert cosine > 0.98


@pytest.mark.parametrize('frozen', [[], ['backbone', 'text_encoder']])
def test_channels_last_computes_the_same(vocab_file, frozen):
    losses, gradients, layouts = [], [], []
    for channels_last in (False, True):
        torch.manual_seed(0)
        model = build(vocab_file, frozen=frozen, channels_last=channels_last).train()
        # As of a checkpoint: values are loaded, the order in memory stays.
        model.load_state_dict(
            {name: value.contiguous() for name, value in model.state_dict().items()}
        )
        conv = model.backbone.conv1
        conv.register_forward_hook(lambda module, inputs, output: layouts.append(output))
        loss = _loss(model, _batch())
        loss.backward()
        losses.append(loss)
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        in_order = conv.weight.is_contiguous(memory_format=torch.channels_last)
        assert in_order is channels_last
    orders = [map_.is_contiguous(memory_format=torch.channels_last) for map_ in layouts]
    # Without a gradient it is the faster order in any case.
    assert orders == [bool(frozen), True]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=0)
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 5
    largest = max(gradient.abs().max().item() for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-5 * largest)


def test_sentences_of_a_frozen_encoder_are_float32():
    text_encoder = dict(small_clip()['text_encoder'], hidden_size=24)
    for dtype in (None, 'bfloat16'):
        model = build(
            None, text_encoder=text_encoder, frozen=['text_encoder'], frozen_dtype=dtype
        ).train()
        raw = []
        model.text_encoder.register_forward_hook(lambda *args, raw=raw: raw.append(args[-1]))
        text = model.encode_text(model.data_preprocessor(_batch())['data_samples'])
        assert text.sentence.dtype == text.pieces.dtype == torch.float32
        assert raw[0].sentence.dtype == (torch.bfloat16 if dtype else torch.float32)
        torch.testing.assert_close(text.sentence, raw[0].sentence.float())
        assert not text.sentence.requires_grad


def test_an_unknown_precision_is_an_error(vocab_file):
    with pytest.raises(ValueError, match='int8'):
        build(vocab_file, frozen=['backbone'], frozen_dtype='int8')


@pytest.mark.parametrize(
    ('frozen', 'dropout', 'message'),
    [
        (['backbone', 'nekc'], [], 'nekc'),
        (['neck.0'], [], "'backbone' is trained"),
        (['neck'], [], "'backbone' is trained"),
        (['backbone'], ['text_encoder'], 'dropout'),
    ],
)
def test_impossible_freezing_is_an_error(vocab_file, frozen, dropout, message):
    with pytest.raises(ValueError, match=message):
        build(vocab_file, frozen=frozen, dropout_in_frozen=dropout)


def test_the_whole_neck_can_be_frozen_by_one_name(vocab_file):
    model = build(vocab_file, frozen=['backbone', 'neck'])
    assert not any(parameter.requires_grad for parameter in model.neck.parameters())


def test_predictions_do_not_depend_on_the_other_texts_of_a_batch(vocab_file):
    model = build(vocab_file).eval()
    together = model.test_step(_batch())
    for index in range(3):
        images, data_samples = _batch().values()
        (alone,) = model.test_step(batch((images[index], data_samples[index])))
        torch.testing.assert_close(
            together[index].pred_phrases.scores, alone.pred_phrases.scores, atol=1e-5, rtol=0
        )


def test_an_image_is_encoded_once(vocab_file):
    model = build(vocab_file).eval()
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    model.test_step(_batch())
    assert seen == [2]


def test_checkpoint_round_trip(vocab_file, tmp_path):
    model = build(vocab_file).eval()
    expected = model.test_step(_batch())
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    torch.manual_seed(1)
    other = build(vocab_file).eval()
    torch.nn.init.normal_(other.head.query_proj.weight)
    other.load_state_dict(torch.load(tmp_path / 'model.pth', weights_only=True), strict=True)
    for own, result in zip(expected, other.test_step(_batch()), strict=True):
        assert torch.equal(own.pred_phrases.masks, result.pred_phrases.masks)


def test_init_cfg_reaches_every_part(vocab_file):
    cfg = small_ppmn(vocab_file)
    constant = dict(type='Constant', layer='Conv2d', val=0.25)
    cfg['neck'][0]['init_cfg'] = cfg['neck'][1]['init_cfg'] = constant
    cfg['head']['refinement']['init_cfg'] = dict(type='Constant', layer='LayerNorm', val=0.5)
    model = MODELS.build(cfg)
    model.init_weights()
    assert (model.neck[0].fpn_convs[0].conv.weight == 0.25).all()
    assert (model.neck[1].out_conv.conv.weight == 0.25).all()
    assert (model.head.rounds[1].refinement.aggregation.ffn_norm.weight == 0.5).all()


def test_own_convolutions_keep_the_initialisation_of_torch(vocab_file):
    """Uniform in 1 / sqrt(fan in), biases too; not the normal one of mmcv."""
    model = build(vocab_file)
    model.init_weights()
    for conv in (model.neck[1].branches[2][0].conv, model.head.rounds[0].pixel_proj.conv):
        bound = conv.weight[0].numel() ** -0.5
        assert conv.weight.abs().max() <= bound
        assert conv.weight.abs().max() > 0.8 * bound
        assert conv.bias is None or conv.bias.any()


def test_necks_that_ignore_the_padding_are_told_where_it_is(vocab_file):
    base = small_ppmn(vocab_file)['neck']
    norm_cfg = dict(type='GN', num_groups=4)
    encoder = dict(type='DeformableEncoder', channels=16, num_layers=1, norm_cfg=norm_cfg)
    fusion = dict(base[1], strides=(8, 8, 16, 32))
    models = [
        build(vocab_file, neck=[base[0], dict(encoder, ignore_padding=ignored), fusion]).eval()
        for ignored in (False, True)
    ]
    pairs = [
        sample('[a ring]', path='a.jpg', img_shape=(40, 60)),
        sample('[a red star]', path='b.jpg', img_shape=(64, 24)),
    ]
    seen = []
    models[1].neck[1].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs['valid_mask']), with_kwargs=True
    )
    for model in models:
        data = model.data_preprocessor(batch(*pairs))
        with torch.no_grad():
            maps = model(**data)
        assert all(level.isfinite().all() for level in maps)
    expected = torch.zeros(2, 64, 64, dtype=torch.bool)
    expected[0, :40, :60] = True
    expected[1, :64, :24] = True
    assert len(seen) == 1 and torch.equal(seen[0], expected)
    with pytest.raises(ValueError, match='place 0 of 2 images'):
        models[1].encode_image(data['inputs'])


def test_unknown_mode(vocab_file):
    with pytest.raises(ValueError, match='mode'):
        build(vocab_file)(**build(vocab_file).data_preprocessor(_batch()), mode='train')


def test_a_frozen_region_encoder_needs_a_frozen_backbone(tmp_path):
    cfg = small_reir(tmp_path)
    for frozen in ([], ['backbone'], ['backbone', 'region_encoder']):
        model = MODELS.build(dict(cfg, frozen=frozen)).train()
        learned = any(own.requires_grad for own in model.region_encoder.parameters())
        assert learned == ('region_encoder' not in frozen)
        feats = (torch.ones(1, 32, 4, 4, requires_grad=True),)
        boxes = torch.tensor([[0.0, 0.0, 40.0, 40.0]])
        described = model.describe_regions(feats, boxes, torch.zeros(1, dtype=torch.int64))
        assert described.shape == (1, 64)
        assert described.requires_grad == learned
    with pytest.raises(ValueError, match="'backbone' is trained, so no image part behind it"):
        MODELS.build(dict(cfg, frozen=['region_encoder']))
    with pytest.raises(ValueError, match='parts that can be frozen are'):
        MODELS.build(dict(cfg, region_encoder=None))
