import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from small_pbrec import expression, small_pbrec
from small_ppmn import batch, write_vocabulary

from mmground.models.task_modules import centerness_target, massness_target
from mmground.registry import MODELS
from mmground.structures import Geometry, TextFeatures


@pytest.fixture
def build(tmp_path):
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')

    def build(**head):
        torch.manual_seed(0)
        return MODELS.build(small_pbrec(vocab_file, **head))

    return build


def _pairs():
    """Three expressions for two images of different sizes."""
    return [
        expression('a red star'),
        expression('the two blue rings on the grass', (0.0, 10.0, 50.0, 128.0)),
        expression('ring', (40.0, 36.0, 90.0, 80.0), 'b.jpg', (96, 128)),
    ]


def _data(model, pairs=None):
    return model.data_preprocessor(batch(*(pairs or _pairs())))


def test_losses_and_gradients(build):
    model = build().train()
    losses = model(**_data(model), mode='loss')
    assert set(losses) == {'loss_rec', 'loss_res', 'truncated_texts'}
    assert losses['truncated_texts'] == 0
    total = model.parse_losses(losses)[0]
    torch.testing.assert_close(total, losses['loss_rec'] + losses['loss_res'])
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize('task', ['rec', 'res'])
def test_single_tasks(build, task):
    model = build(tasks=[task]).train()
    pairs = _pairs()
    for _, sample in pairs:
        # What the other task would need.
        sample.gt_regions.pop({'rec': 'masks', 'res': 'bboxes'}[task])
    losses = model(**_data(model, pairs), mode='loss')
    assert set(losses) == {f'loss_{task}', 'truncated_texts'}
    assert set(model(**_data(model, pairs), mode='tensor')) == {task}
    (result, *_) = model.eval()(**_data(model, pairs), mode='predict')
    assert f'points_{task}' in result.pred_phrases
    assert 'point_hit' in result.pred_phrases


@pytest.mark.parametrize('form', ['official', 'paper', 'fixed'])
@pytest.mark.parametrize('hard', [False, True])
def test_targets_are_those_of_the_functions(build, form, hard):
    settings = dict(form=form, hard=hard)
    model = build(targets=dict(rec=settings, res=settings))
    samples = _data(model)['data_samples']
    boxes = torch.cat([sample.gt_regions.bboxes for sample in samples])
    masks = torch.stack(
        [
            F.pad(own, (0, 160 - own.shape[1], 0, 128 - own.shape[0]))
            for own in (sample.gt_regions.masks[0] for sample in samples)
        ]
    )
    targets = model.head.targets(samples, (4, 5))
    for task, expected in (
        ('rec', centerness_target(boxes, (4, 5), 32, form)),
        ('res', massness_target(masks, 32, form)),
    ):
        expected = (expected > 0).float() if hard else expected
        torch.testing.assert_close(targets[task], expected.flatten(1))
        assert expected.any()


def test_targets_lie_where_the_image_does(build):
    model = build()
    _, sample = expression('a ring', (40.0, 20.0, 80.0, 60.0), img_shape=(64, 128))
    # Twice the size, mirrored, 32 pixels below the top of the canvas.
    geometry = Geometry((64, 128), (128, 256), (32, 0), flip=True, canvas_shape=(192, 256))
    sample.set_metainfo(dict(geometry=geometry))
    targets = model.head.targets([sample], (6, 8))
    box = torch.tensor([[256 - 160.0, 72.0, 256 - 80.0, 152.0]])
    mask = torch.zeros(1, 192, 256, dtype=torch.bool)
    mask[0, 72:152, 96:176] = True
    for task, expected in (
        ('rec', centerness_target(box, (6, 8), 32)),
        ('res', massness_target(mask, 32)),
    ):
        torch.testing.assert_close(targets[task], expected.flatten(1), atol=1e-5, rtol=0)


def test_several_regions_are_one_target(build):
    model = build()
    _, sample = expression('two rings', (10.0, 10.0, 30.0, 30.0))
    first = sample.gt_regions
    other = torch.zeros_like(first.masks)
    other[0, 90:120, 100:150] = True
    sample.gt_regions = InstanceData(
        bboxes=torch.cat((first.bboxes, torch.tensor([[100.0, 90.0, 150.0, 120.0]]))),
        masks=torch.cat((first.masks, other)),
    )
    sample.links = torch.tensor([[0, 0], [0, 1]])
    sample.set_metainfo(dict(geometry=sample.geometry.on_canvas((128, 160))))
    targets = model.head.targets([sample], (4, 5))
    box = torch.tensor([[10.0, 10.0, 150.0, 120.0]])
    torch.testing.assert_close(targets['rec'], centerness_target(box, (4, 5), 32).flatten(1))
    union = massness_target(first.masks | other, 32)
    torch.testing.assert_close(targets['res'], union.flatten(1))


def test_an_expression_without_target_has_none(build):
    model = build().eval()
    pairs = _pairs()
    pairs[1][1].links = torch.zeros(0, 2, dtype=torch.int64)
    targets = model.head.targets(_data(model, pairs)['data_samples'], (4, 5))
    for target in targets.values():
        assert target.any(1).tolist() == [True, False, True]
    results = model(**_data(model, pairs), mode='predict')
    assert not results[1].pred_phrases.point_hit


def test_a_mask_that_vanishes_on_the_canvas_keeps_a_pixel(build):
    model = build(tasks=['res'])
    _, sample = expression('ring', (63.0, 30.0, 64.0, 31.0))
    # A pixel of 1/16 of its size.
    geometry = Geometry((128, 160), (8, 10), (32, 32), canvas_shape=(64, 64))
    sample.set_metainfo(dict(geometry=geometry))
    assert not (geometry.masks(sample.gt_regions.masks) > 0.5).any()
    target = model.head.targets([sample], (2, 2))['res']
    assert target.nonzero().tolist() == [[0, 3]]
    assert target[0, 3] == 1 / 32**2


def test_loss_by_hand(build):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 20, generator=generator)
    target = torch.rand(3, 20, generator=generator)
    valid = torch.rand(3, 20, generator=generator) > 0.3
    probs = logits[-1].sigmoid()
    errors = -(target * probs.log() + (1 - target) * (1 - probs).log())
    for settings, expected in (
        ({}, errors.mean()),
        # Eq. 6: the sum over n points, by n * n.
        (dict(squared_norm=True), (errors.sum(1) / 20**2).mean()),
        (dict(ignore_padding=True), errors[valid].mean()),
        (dict(loss_bce=dict(type='BCELoss', loss_weight=3.0)), 3 * errors.mean()),
    ):
        head = build(tasks=['rec'], **settings).head
        losses = head.loss_by_feat(dict(rec=logits), dict(rec=target), valid)
        torch.testing.assert_close(losses['loss_rec'], expected)


def test_cells_on_the_border_of_the_image(build):
    pairs = [expression('a ring', img_shape=(80, 112)), expression('ring', path='b.jpg')]
    expected = dict(corner=(3, 4), centre=(2, 3))
    for anchor, (rows, columns) in expected.items():
        model = build(cell_anchor=anchor)
        data = _data(model, pairs)
        feats = model.encode_image(data['inputs'])
        image_index, valid = model.head.place(feats, data['data_samples'])
        assert image_index.tolist() == [0, 1]
        assert valid[0].sum(0).max() == rows and valid[0].sum(1).max() == columns
        assert valid[1].all()


def test_only_what_the_encoder_sees_goes_by_the_corner(build):
    """An image of rows 24 to 104 and columns 40 to 152 of the canvas, in cells of 32 pixels."""
    _, sample = expression('ring', (0.0, 0.0, 112.0, 80.0), img_shape=(80, 112))
    geometry = Geometry((80, 112), (80, 112), (24, 40), canvas_shape=(128, 160))
    sample.set_metainfo(dict(geometry=geometry, image_index=0))
    # Places (16, 48, ...) on the image; of the last row of corners (96) the centre is not.
    centres = torch.zeros(4, 5, dtype=torch.bool)
    centres[1:3, 1:5] = True
    corners = torch.zeros(4, 5, dtype=torch.bool)
    corners[1:4, 2:5] = True
    scores = torch.full((1, 20), -1.0)
    # Nothing else is as good: what has a corner on the image only, then a centre only.
    scores[0, 3 * 5 + 2], scores[0, 1 * 5 + 1] = 3.0, 2.0
    seen = []
    for anchor in ('corner', 'centre'):
        head = build(tasks=['rec'], cell_anchor=anchor, ignore_padding=True).eval().head
        feats = (torch.rand(1, 64, 4, 5),)
        _, valid = head.place(feats, [sample])
        assert torch.equal(valid[0], corners if anchor == 'corner' else centres)
        head._score = lambda states: dict(rec=scores[None])
        head.loss_by_feat = lambda logits, targets, valid: seen.append(valid) or {}
        text = TextFeatures(
            torch.rand(1, 3, 24),
            torch.ones(1, 3, dtype=torch.bool),
            torch.zeros(1, 3, 2, dtype=torch.int64),
            torch.ones(1, 3, dtype=torch.bool),
            torch.zeros(1, dtype=torch.bool),
        )
        (result,) = head.predict(feats, text, [sample])
        assert result.points_rec.tolist() == [[48 - 40, 48 - 24]]
        head.loss(feats, text, [sample])
        assert torch.equal(seen.pop(), centres.flatten()[None])


def test_predictions(build):
    model = build(test_cfg=dict(keep_attention=True)).eval()
    data = _data(model)
    with torch.no_grad():
        logits = model(**data, mode='tensor')
        results = model(**data, mode='predict')
    targets = model.head.targets(data['data_samples'], (4, 5))
    for index, sample in enumerate(results):
        own = sample.pred_phrases
        assert len(own) == 1
        for task in ('rec', 'res'):
            assert logits[task].shape == (2, 3, 20)
            probs = logits[task][-1, index].sigmoid().reshape(4, 5)
            torch.testing.assert_close(own[f'point_scores_{task}'][0], probs)
            # The third image has 3 rows and 4 columns; the rest is padding.
            seen = probs if index < 2 else probs[:3, :4]
            row, column = (seen == seen.max()).nonzero()[0].tolist()
            assert own[f'points_{task}'].tolist() == [[column * 32 + 16, row * 32 + 16]]
            if task == 'rec':
                assert own.scores == seen.max()
                assert own.point_hit == (targets['rec'][index, row * 5 + column] > 0)
        assert not own.truncated
        assert own.cls_attention.shape == (1, 4, 5)
        assert 0 < own.cls_attention.sum() < 1


def test_padding_can_be_among_the_points(build):
    scores = torch.linspace(-1, 1, 20)[None]
    valid = torch.ones(1, 20, dtype=torch.bool)
    valid[0, 15:] = False
    _, sample = expression('ring', gt=False)
    sample.set_metainfo(dict(geometry=sample.geometry.on_canvas((128, 160))))
    for exclude, point in ((True, 14), (False, 19)):
        head = build(tasks=['rec'], test_cfg=dict(exclude_padding=exclude)).head
        (result,) = head.predict_by_feat(dict(rec=scores.sigmoid()), valid, [sample], (4, 5))
        assert result.scores == scores[0, point].sigmoid()
        assert 'point_hit' not in result


def test_texts_of_a_batch_do_not_mix(build):
    model = build().eval()
    pairs = [*_pairs()[:2], expression('ring', path='c.jpg')]
    with torch.no_grad():
        together = model(**_data(model, pairs), mode='tensor')
        for index, pair in enumerate(pairs):
            alone = model(**_data(model, [pair]), mode='tensor')
            for task, own in together.items():
                torch.testing.assert_close(own[:, index], alone[task][:, 0], atol=1e-5, rtol=0)


def test_truncated_texts_are_counted(build):
    model = build()
    pairs = [expression('ring'), expression('red star ' * 12)]
    assert model(**_data(model, pairs), mode='loss')['truncated_texts'] == 1
    results = model.eval()(**_data(model, pairs), mode='predict')
    assert [bool(sample.pred_phrases.truncated) for sample in results] == [False, True]


def test_half_precision(build):
    model = build().train()
    with torch.autocast('cpu', torch.bfloat16):
        loss = model.parse_losses(model(**_data(model), mode='loss'))[0]
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_wrong_settings(build):
    for settings, message in (
        (dict(tasks=[]), 'tasks must be among'),
        (dict(tasks=['reg']), 'tasks must be among'),
        (dict(tasks=['rec'], targets=dict(res=dict(hard=True))), "tasks \\['rec'\\], got"),
        (dict(targets=dict(rec=dict(soft=True))), "takes 'form' and 'hard'"),
    ):
        with pytest.raises(ValueError, match=message):
            build(**settings)


def test_wrong_samples(build):
    model = build()

    def targets(change):
        image, sample = expression('a ring')
        change(sample)
        samples = _data(model, [(image, sample)])['data_samples']
        return model.head.targets(samples, (4, 5))

    def two_phrases(sample):
        sample.set_metainfo(dict(phrases=[dict(text='a', span=(0, 1))] * 2))

    def no_masks(sample):
        sample.gt_regions.pop('masks')

    def empty_mask(sample):
        sample.gt_regions.masks[:] = False

    def empty_box(sample):
        sample.gt_regions.bboxes[0, 2] = sample.gt_regions.bboxes[0, 0]

    for change, message in (
        (two_phrases, "sample 'a.jpg:a ring' has 2 phrases"),
        (no_masks, "'a.jpg:a ring' has no masks, which the task 'res' needs: add LoadGr"),
        (empty_mask, "'a.jpg:a ring': the referred mask has no pixel"),
        (empty_box, "'a.jpg:a ring': the referred box is .* empty"),
    ):
        with pytest.raises(ValueError, match=message):
            targets(change)
    _, sample = expression('ring')
    sample.set_metainfo(dict(geometry=sample.geometry.on_canvas((120, 160))))
    with pytest.raises(ValueError, match=r'4 x 5 points do not lie evenly on .* 120 x 160'):
        model.head.targets([sample], (4, 5))
