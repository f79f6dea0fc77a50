"""DRMN as a whole, in both forms: loss, gradients, predictions, checkpoints."""

import pytest
import torch
from small_drmn import small_drmn
from small_ppmn import batch, sample, write_vocabulary

from mmground.registry import MODELS

FORMS = ('official', 'paper')


@pytest.fixture
def build(tmp_path):
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')

    def build(form, frozen=(), **refinement):
        torch.manual_seed(0)
        cfg = small_drmn(vocab_file, form, **refinement)
        return MODELS.build(dict(cfg, frozen=frozen))

    return build


def _data(model):
    """Three texts of two images of different sizes."""
    return model.data_preprocessor(
        batch(
            sample('[a red star] on [the grass]', path='a.jpg'),
            sample('[two blue rings]', path='b.jpg', ori_shape=(33, 18), img_shape=(66, 36)),
            sample('[a ring]', path='a.jpg'),
        )
    )


@pytest.mark.parametrize('form', FORMS)
def test_losses_and_gradients(build, form):
    model = build(form).train()
    losses = model(**_data(model), mode='loss')
    first = 0 if form == 'official' else 1
    names = {f'loss_{kind}_{level}' for kind in ('bce', 'dice') for level in range(first, 3)}
    assert set(losses) == {*names, 'dropped_phrases'}
    model.parse_losses(losses)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize('form', FORMS)
def test_frozen_encoders(build, form):
    model = build(form, frozen=['backbone', 'neck.0', 'text_encoder']).train()
    model.parse_losses(model(**_data(model), mode='loss'))[0].backward()
    for name, parameter in model.named_parameters():
        frozen = name.startswith(('backbone.', 'neck.0.', 'text_encoder.'))
        assert (parameter.grad is None) == frozen, name


@pytest.mark.parametrize('form', FORMS)
def test_predictions_survive_a_checkpoint(build, form, tmp_path):
    model = build(form).eval()
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    other = build(form).eval()
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    other.load_state_dict(torch.load(tmp_path / 'model.pth'), strict=True)
    with torch.no_grad():
        results = [own(**_data(own), mode='predict') for own in (model, other)]
    for ours, theirs in zip(*results, strict=True):
        assert ours.pred_phrases.masks.shape == (len(ours.phrases), *ours.ori_shape)
        assert torch.equal(ours.pred_phrases.masks, theirs.pred_phrases.masks)
        assert torch.equal(ours.pred_phrases.scores, theirs.pred_phrases.scores)


@pytest.mark.parametrize('form', FORMS)
def test_a_batch_gives_what_its_texts_give(build, form):
    """Apart from the canvas, which is that of the batch."""
    model = build(form).eval()
    texts = ('[a red star] on [the grass]', '[a ring]', '[two blue rings]')
    pairs = [sample(text, path=path) for text, path in zip(texts, 'aab', strict=True)]
    with torch.no_grad():
        together = model(**model.data_preprocessor(batch(*pairs)), mode='tensor')[-1]
        single = [
            model(**model.data_preprocessor(batch(sample(text, path=path))), mode='tensor')[-1]
            for text, path in zip(texts, 'aab', strict=True)
        ]
    torch.testing.assert_close(together, torch.cat(single), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('form', FORMS)
def test_half_precision(build, form):
    model = build(form).train()
    with torch.autocast('cpu', torch.bfloat16):
        loss = model.parse_losses(model(**_data(model), mode='loss'))[0]
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_padding_can_be_ignored_everywhere(build, tmp_path):
    """What lies in the padding of the canvas, and how much there is, has no influence."""
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    cfg = small_drmn(vocab_file, 'paper', valid_only=True, num_points=3)
    cfg['neck'][1]['ignore_padding'] = True
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    data = model.data_preprocessor(batch(sample('[a red star]', img_shape=(64, 40))))
    levels = [torch.randn(1, 16, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    changed = [level.clone() for level in levels]
    for level, stride in zip(changed, (4, 8, 16, 32), strict=True):
        level[..., -(-40 // stride) :] += 100
    model.neck[0] = torch.nn.Identity()
    maps = []
    for own in (levels, changed):
        model.backbone = _Constant(own)
        with torch.no_grad():
            maps.append(model(**data, mode='tensor')[-1])
    assert not torch.equal(levels[0], changed[0])
    torch.testing.assert_close(*[own[..., :5] for own in maps])


class _Constant(torch.nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, image):
        return self.output


def test_too_many_pieces_for_the_slots(build):
    model = build('official', max_seg_num=2)
    data = model.data_preprocessor(batch(sample('[a ring] on [the grass]')))
    losses = model(**data, mode='loss')
    assert losses['dropped_phrases'] == 1
    (result,) = model.eval()(**data, mode='predict')
    assert result.pred_phrases.dropped.tolist() == [False, True]
    assert not result.pred_phrases.masks[1].any()
