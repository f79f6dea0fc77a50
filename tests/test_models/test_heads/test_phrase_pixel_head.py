import pytest
import torch
import torch.nn.functional as F
from small_ppmn import batch, build, packed_queries, sample, small_ppmn, write_vocabulary

from mmground.evaluation import PNGMetric
from mmground.models.heads import PhrasePixelHead
from mmground.registry import MODELS


@pytest.fixture
def model(tmp_path):
    return build(write_vocabulary(tmp_path / 'vocab.txt')).eval()


def _encode(model, data):
    data = model.data_preprocessor(data)
    samples = data['data_samples']
    with torch.no_grad():
        return model.encode_image(data['inputs']), model.encode_text(samples), samples


def test_queries_are_packed_by_image(model):
    data = batch(
        sample('[a red star] on [the grass]', path='a.jpg'),
        sample('[two blue rings]', path='b.jpg'),
        sample('[a ring]', path='a.jpg'),
    )
    _, text, data_samples = _encode(model, data)
    queries = model.head.pack_queries(text, data_samples)
    assert queries.counts == (2, 1, 1)
    assert queries.image_index.tolist() == [0] * 7 + [1] * 4
    assert queries.phrase_index.tolist() == [0, 0, 0, 1, 1, 3, 3, 2, 2, 2, 2]
    assert not queries.dropped.any()
    torch.testing.assert_close(queries.features[5:7], text.pieces[2, 1:3])


def test_raw_outputs_are_the_maps_of_all_rounds(model):
    data = model.data_preprocessor(batch(sample('[a red star] on [the grass]')))
    maps = model(**data, mode='tensor')
    assert [tuple(logits.shape) for logits in maps] == [(5, 8, 8)] * 3


def test_losses_by_hand(model):
    data = batch(
        sample('[a red star] on [the grass]', path='a.jpg'),
        sample('[two blue rings]', path='b.jpg', seed=1),
    )
    feats, text, data_samples = _encode(model, data)
    losses = model.head.loss(feats, text, data_samples)
    queries = model.head.pack_queries(text, data_samples)
    maps = model.head(feats, queries)
    targets = []
    for own in data_samples:
        masks = F.interpolate(
            own.gt_regions.masks[None].float(), size=own.img_shape, mode='bilinear'
        )
        height, width = own.geometry.canvas_shape
        masks = F.pad(masks, (0, width - own.img_shape[1], 0, height - own.img_shape[0]))
        targets.append((F.interpolate(masks, scale_factor=0.25, mode='bilinear')[0] > 0).float())
    targets = torch.cat(targets)[queries.phrase_index]
    assert len(maps) == 3
    for level, logits in enumerate(maps):
        logits = F.interpolate(logits[None], scale_factor=2, mode='bilinear')[0]
        bce = F.binary_cross_entropy_with_logits(logits, targets)
        p, t = logits.sigmoid().flatten(1), targets.flatten(1)
        dice = 1 - 2 * (p * t).sum(1) / ((p**2).sum(1) + (t**2).sum(1) + 2e-3)
        torch.testing.assert_close(losses[f'loss_bce_{level}'], bce)
        torch.testing.assert_close(losses[f'loss_dice_{level}'], dice.mean())
    assert losses['dropped_phrases'] == 0


def test_predictions_by_hand(model):
    data = batch(
        sample('[a red star] on [the grass]', path='a.jpg'),
        sample('[two blue rings]', path='b.jpg', ori_shape=(33, 18), img_shape=(66, 36)),
    )
    model.head.test_cfg['keep_grid_probs'] = True
    feats, text, data_samples = _encode(model, data)
    with torch.no_grad():
        predictions = model.head.predict(feats, text, data_samples)
        queries = model.head.pack_queries(text, data_samples)
        logits = model.head(feats, queries)[-1]
    logits = F.interpolate(logits[None], scale_factor=2, mode='bilinear')[0]
    phrase = 0
    for own, prediction in zip(data_samples, predictions, strict=True):
        assert len(prediction) == len(own.phrases)
        for index in range(len(own.phrases)):
            probs = logits[queries.phrase_index == phrase].sigmoid().mean(0)
            torch.testing.assert_close(prediction.grid_probs[index], probs)
            canvas = F.interpolate(
                probs[None, None], size=own.geometry.canvas_shape, mode='bilinear'
            )
            canvas = canvas[..., : own.img_shape[0], : own.img_shape[1]]
            image = F.interpolate(canvas, size=own.ori_shape, mode='bilinear')[0, 0]
            assert torch.equal(prediction.masks[index], image > 0.5)
            if (image > 0.5).any():
                score = image[image > 0.5].mean()
                torch.testing.assert_close(prediction.scores[index], score)
            phrase += 1


def test_supervision_at_the_stride_of_the_map(tmp_path):
    """Sec. 3.2: maps and targets of stride 8. Predictions are those of the default."""
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    head = dict(small_ppmn(vocab_file)['head'], test_cfg=dict(keep_grid_probs=True))
    model = build(vocab_file, head=dict(head, supervision_scale=1)).eval()
    data = batch(
        sample('[a red star] on [the grass]', path='a.jpg'),
        sample('[two blue rings]', path='b.jpg', seed=1),
    )
    feats, text, data_samples = _encode(model, data)
    queries = model.head.pack_queries(text, data_samples)
    maps = model.head(feats, queries)
    losses = model.head.loss(feats, text, data_samples)
    targets = []
    for own in data_samples:
        assert own.img_shape == (40, 60) and own.geometry.canvas_shape == (64, 64)
        masks = F.interpolate(own.gt_regions.masks[None].float(), size=(40, 60), mode='bilinear')
        masks = F.pad(masks, (0, 4, 0, 24))[0]
        # A cell of 8 x 8 pixels sees the 2 x 2 in its middle.
        middle = [masks[:, i::8, j::8] for i in (3, 4) for j in (3, 4)]
        targets.append((sum(middle) > 0).float())
    targets = torch.cat(targets)[queries.phrase_index]
    assert targets.shape == maps[0].shape == (9, 8, 8)
    for level, logits in enumerate(maps):
        bce = F.binary_cross_entropy_with_logits(logits, targets)
        p, t = logits.sigmoid().flatten(1), targets.flatten(1)
        dice = 1 - 2 * (p * t).sum(1) / ((p**2).sum(1) + (t**2).sum(1) + 2e-3)
        torch.testing.assert_close(losses[f'loss_bce_{level}'], bce)
        torch.testing.assert_close(losses[f'loss_dice_{level}'], dice.mean())

    default = build(vocab_file, head=head).eval()
    assert default.head.loss(feats, text, data_samples)['loss_bce_0'] != losses['loss_bce_0']
    with torch.no_grad():
        results = [own.head.predict(feats, text, data_samples) for own in (model, default)]
    for ours, theirs in zip(*results, strict=True):
        assert ours.grid_probs.shape[1:] == (16, 16)
        assert torch.equal(ours.grid_probs, theirs.grid_probs)
        assert torch.equal(ours.masks, theirs.masks)
    # So PNGMetric scores both on its grid, a quarter of the canvas.
    metric = PNGMetric('ppmn')
    for own, prediction in zip(data_samples, results[0], strict=True):
        own.pred_phrases = prediction
    metric.process(None, [own.to_dict() for own in data_samples])
    assert [len(result['ious']['ppmn']) for result in metric.results] == [2, 1]
    with pytest.raises(ValueError, match='supervision_scale must be 1, 2, 4 or 8, got 3'):
        build(vocab_file, head=dict(head, supervision_scale=3))


def test_pooling_of_logits_by_hand(tmp_path):
    """Sec. 4.2, a phrase's matching maps averaged before the sigmoid."""
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    head = small_ppmn(vocab_file)['head']
    test_cfg = dict(pooling='logits', keep_grid_probs=True)
    model = build(vocab_file, head=dict(head, num_rounds=0, test_cfg=test_cfg)).eval()
    model.head.query_proj.weight.data *= 10  # so that the pieces of a phrase disagree
    data = batch(sample('[a red star] on [the grass] ' + 'star ' * 30 + '[a ring]'))
    feats, text, data_samples = _encode(model, data)
    with torch.no_grad():
        (prediction,) = model.head.predict(feats, text, data_samples)
        logits = model.head(feats, model.head.pack_queries(text, data_samples))[-1]
    logits = F.interpolate(logits[None], scale_factor=2, mode='bilinear')[0]
    for index, own in enumerate((logits[:3], logits[3:])):
        probs = 1 / (1 + (-sum(own) / len(own)).exp())
        torch.testing.assert_close(prediction.grid_probs[index], probs)
        assert not torch.allclose(prediction.grid_probs[index], own.sigmoid().mean(0), atol=1e-3)
    # A phrase without a piece has no logit, and no probability of a half.
    assert prediction.dropped.tolist() == [False, False, True]
    assert not prediction.grid_probs[2].any()
    assert not prediction.masks[2].any()
    with pytest.raises(ValueError, match="pooling must be 'probs' or 'logits', got 'max'"):
        build(vocab_file, head=dict(head, test_cfg=dict(pooling='max')))


def test_pooling_of_logits_tells_pieces_that_disagree():
    """A sure piece and two unsure: probabilities average to below a half, logits to above 0."""
    head = PhrasePixelHead(num_rounds=0)
    logits = torch.tensor([6.0, -2.0, -2.0])[:, None, None].expand(3, 2, 2)
    index = torch.tensor([0, 0, 0])
    assert head.predict_by_feat(logits, index, 1)[0, 0, 0] < 0.5
    head.test_cfg['pooling'] = 'logits'
    expected = torch.full((1, 4, 4), 2 / 3).sigmoid()
    torch.testing.assert_close(head.predict_by_feat(logits, index, 1), expected)


def test_text_beyond_the_encoder(model):
    long_text = 'star ' * 30 + '[the grass]'
    with_gt = batch(sample('[a star] ' + long_text))
    feats, text, data_samples = _encode(model, with_gt)
    losses = model.head.loss(feats, text, data_samples)
    assert losses['dropped_phrases'] == 1
    (prediction,) = model.head.predict(feats, text, data_samples)
    assert prediction.dropped.tolist() == [False, True]
    assert not prediction.masks[1].any()

    feats, text, data_samples = _encode(model, batch(sample(long_text)))
    with pytest.raises(ValueError, match='max_length'):
        model.head.loss(feats, text, data_samples)


def test_more_pieces_than_the_slots_of_the_official_code(tmp_path):
    """The official code stops at more than 64 pieces in the phrases of a text."""
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    encoder = dict(small_ppmn(vocab_file)['text_encoder'], max_positions=100, max_length=100)
    model = build(vocab_file, text_encoder=encoder)
    pairs = batch(sample('[a star] ' * 40))
    feats, text, data_samples = _encode(model, pairs)
    assert len(model.head.pack_queries(text, data_samples).features) == 80
    losses = model.head.loss(feats, text, data_samples)
    assert losses['dropped_phrases'] == 0
    (prediction,) = model.head.predict(feats, text, data_samples)
    assert len(prediction.masks) == 40
    assert not prediction.dropped.any()


def test_a_mask_that_vanishes_on_the_grid_is_an_empty_target(model):
    pairs = batch(sample('[a star] on [the grass]', img_shape=(20, 30)))
    masks = pairs['data_samples'][0].gt_regions.masks
    masks[0] = False
    masks[0, 0, 0] = True  # a cell sees the middle 2 x 2 of its 4 x 4 pixels
    feats, text, data_samples = _encode(model, pairs)
    targets = model.head.targets(data_samples, feats[0].shape[-2:])
    assert not targets[0].any()
    assert targets[1].any()
    losses = model.head.loss(feats, text, data_samples)
    total = sum(value for name, value in losses.items() if name.startswith('loss'))
    total.backward()
    for parameter in model.head.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
    model.zero_grad()


def test_the_initial_map_can_go_unsupervised(tmp_path):
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    head = dict(small_ppmn(vocab_file)['head'], supervise_initial=False)
    model = build(vocab_file, head=head)
    losses = model(**model.data_preprocessor(batch(sample('[a star]'))), mode='loss')
    names = {f'loss_{kind}_{level}' for kind in ('bce', 'dice') for level in (1, 2)}
    assert set(losses) == {*names, 'dropped_phrases'}
    with pytest.raises(ValueError, match='supervise_initial'):
        build(vocab_file, head=dict(head, num_rounds=0))


def test_supervision_at_the_resolution_of_the_canvas(tmp_path):
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    head = dict(small_ppmn(vocab_file)['head'], supervision_scale=8, num_rounds=0)
    model = build(vocab_file, head=head).eval()
    data = batch(sample('[star]', ori_shape=(64, 64), img_shape=(64, 64)))
    feats, text, data_samples = _encode(model, data)
    logits = model.head.tensor(feats, text, data_samples)[0]
    logits = F.interpolate(logits[None], size=(64, 64), mode='bilinear')[0]
    masks = data_samples[0].gt_regions.masks.float()
    expected = F.binary_cross_entropy_with_logits(logits, masks)
    losses = model.head.loss(feats, text, data_samples)
    torch.testing.assert_close(losses['loss_bce_0'], expected)


def test_other_projections(tmp_path):
    """DRMN's: none of F in the paper's form, two of the text in the official code's."""
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    head = dict(small_ppmn(vocab_file)['head'], num_rounds=0, pixel_proj='none', text_proj=True)
    head = build(vocab_file, head=head).head
    pixels, text = torch.randn(1, 16, 6, 5), torch.randn(3, 24)
    (logits,) = head([pixels], packed_queries(text, torch.zeros(3, dtype=torch.int64)))
    first, second = head.text_proj, head.query_proj
    queries = (text @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(logits, torch.einsum('nc,chw->nhw', queries, pixels[0]))
    with pytest.raises(ValueError, match="pixel_proj must be 'conv', 'linear' or 'none'"):
        build(vocab_file, head=dict(small_ppmn(vocab_file)['head'], pixel_proj='mlp'))


def test_target_threshold(tmp_path):
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    image, own = sample('[a star]', ori_shape=(32, 32), img_shape=(32, 32))
    own.gt_regions.masks[:] = False
    own.gt_regions.masks[0, 5, 5] = True  # one of the four pixels that its cell sees
    (own,) = build(vocab_file).data_preprocessor(batch((image, own)))['data_samples']
    for threshold, cells in ((0.0, 1), (0.5, 0)):
        head = build(vocab_file).head
        head.target_threshold = threshold
        assert head.targets([own], (4, 4)).sum() == cells


def test_no_round_keeps_the_first_matching(tmp_path):
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    head = dict(small_ppmn(vocab_file)['head'], num_rounds=0)
    model = build(vocab_file, head=head)
    losses = model(**model.data_preprocessor(batch(sample('[a star]'))), mode='loss')
    assert set(losses) == {'loss_bce_0', 'loss_dice_0', 'dropped_phrases'}


def test_phrase_queries_are_means_of_pieces(tmp_path):
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    head = dict(small_ppmn(vocab_file)['head'], query='phrase')
    model = build(vocab_file, head=head).eval()
    data = batch(
        sample('[a red star] on [the grass]', path='a.jpg'),
        sample('[two blue rings]', path='b.jpg'),
        sample('[a ring] ' + 'star ' * 30 + '[the grass]', path='a.jpg'),
    )
    model.head.test_cfg['keep_grid_probs'] = True
    feats, text, data_samples = _encode(model, data)
    queries = model.head.pack_queries(text, data_samples)
    # The images of the first and the third text come first; the last phrase is cut off.
    assert queries.image_index.tolist() == [0, 0, 0, 1]
    assert queries.phrase_index.tolist() == [0, 1, 3, 2]
    assert queries.dropped.tolist() == [False] * 4 + [True]
    pieces = [text.pieces[0, 1:4], text.pieces[0, 5:7], text.pieces[2, 1:3], text.pieces[1, 1:5]]
    expected = torch.stack([sum(own) / len(own) for own in pieces])
    torch.testing.assert_close(queries.features, expected)

    losses = model.head.loss(feats, text, data_samples)
    assert losses['dropped_phrases'] == 1
    maps = model.head(feats, queries)
    targets = model.head.targets(data_samples, maps[0].shape[-2:])[[0, 1, 3, 2]].float()
    logits = F.interpolate(maps[-1][None], scale_factor=2, mode='bilinear')[0]
    bce = F.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(losses['loss_bce_2'], bce)

    with torch.no_grad():
        predictions = model.head.predict(feats, text, data_samples)
    grid_probs = torch.cat([prediction.grid_probs for prediction in predictions])
    torch.testing.assert_close(grid_probs[[0, 1, 3, 2]], logits.sigmoid())
    assert predictions[2].dropped.tolist() == [False, True]


def test_phrases_of_one_piece_are_the_same_in_both_forms(tmp_path):
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    data = batch(sample('a red [star] on the [grass]'))
    masks = []
    for query in ('piece', 'phrase'):
        head = dict(small_ppmn(vocab_file)['head'], query=query)
        model = build(vocab_file, head=head).eval()
        masks.append(model(**model.data_preprocessor(data), mode='tensor')[-1])
    torch.testing.assert_close(*masks)
    with pytest.raises(ValueError, match="query must be 'piece' or 'phrase', got 'word'"):
        build(vocab_file, head=dict(head, query='word'))


def test_linear_dice_is_the_papers():
    """Eq. 7; mmdet's epsilon is a thousandth of a pixel on both sides of the fraction."""
    logits, targets = torch.randn(5, 8, 9), (torch.rand(5, 8, 9) > 0.7).float()
    total = 0
    for own, target in zip(logits.sigmoid(), targets, strict=True):
        overlap = (own * target).sum()
        total += 1 - 2 * overlap / (own.sum() + target.sum())
    for eps, tolerance in ((1e-3, 1e-4), (1e-12, 1e-6)):
        loss = MODELS.build(dict(type='mmdet.DiceLoss', naive_dice=True, eps=eps))
        torch.testing.assert_close(loss(logits, targets), total / 5, atol=tolerance, rtol=0)
    # Where Eq. 7 is 0 / 0, the loss is 0.
    loss = MODELS.build(dict(type='mmdet.DiceLoss', naive_dice=True, eps=1e-3))
    assert loss(torch.full((1, 2, 2), -100.0), torch.zeros(1, 2, 2)) == 0


def test_the_papers_projections_by_hand(tmp_path):
    """Eq. 1, and rounds that aggregate F while they match with their own projection of it."""
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    head = dict(
        small_ppmn(vocab_file)['head'],
        num_rounds=1,
        pixel_proj='linear',
        matching_round=dict(shared_context=True),
    )
    head = build(vocab_file, head=head).eval().head
    feats, text = torch.randn(1, 16, 6, 5), torch.randn(3, 24)
    first, second = head([feats], packed_queries(text, torch.zeros(3, dtype=torch.int64)))
    queries = text @ head.query_proj.weight.T + head.query_proj.bias
    pixels = torch.einsum('oc,chw->ohw', head.pixel_proj.conv.weight[:, :, 0, 0], feats[0])
    torch.testing.assert_close(first, torch.einsum('nc,chw->nhw', queries, pixels))
    assert sorted(head.pixel_proj.state_dict()) == ['conv.weight']

    own = head.rounds[0]
    index = own.refinement.select(first)
    context = pixels.flatten(1).T[index]
    refined = own.query_mlp(own.refinement.aggregation(queries, context))
    conv, norm = own.pixel_proj.conv, own.pixel_proj.gn
    projected = torch.einsum('oc,chw->ohw', conv.weight[:, :, 0, 0], pixels)
    projected = F.group_norm(projected[None], 4, norm.weight, norm.bias)[0].relu()
    torch.testing.assert_close(second, torch.einsum('nc,chw->nhw', refined, projected))


def test_the_text_projection_is_drawn_by_xavier():
    torch.manual_seed(0)
    head = PhrasePixelHead(in_channels=32, text_channels=200, channels=32, text_proj=True)
    head.init_weights()
    largest = {
        name: getattr(head, name).weight.abs().max().item() for name in ('text_proj', 'query_proj')
    }
    # Xavier's bound, sqrt(6 / (200 + 32)), and PyTorch's own, 1 / sqrt(32).
    assert largest['text_proj'] == pytest.approx(0.1608, abs=2e-3)
    assert largest['query_proj'] == pytest.approx(0.1768, abs=2e-3)
    # PyTorch's own would be within 1 / sqrt(200).
    assert largest['text_proj'] > 200**-0.5
