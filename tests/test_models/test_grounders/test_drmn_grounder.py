"""DRMN as a whole, in both forms: loss, gradients, predictions, checkpoints."""

import pytest
import torch
from small_drmn import small_drmn
from small_ppmn import batch, sample, write_vocabulary

from mmground.registry import MODELS

FORMS = ('official', 'paper')
STRIDES = (4, 8, 16, 32)


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


def test_padding_can_be_ignored_everywhere(tmp_path):
    """What lies in the padding of the canvas, and how much there is, has no influence."""
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    cfg = small_drmn(vocab_file, 'paper', ignore_padding=True, num_points=3)
    cfg['neck'][1]['ignore_padding'] = True
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    for name, parameter in model.named_parameters():
        if name.endswith('bias'):
            torch.nn.init.normal_(parameter, std=0.1)
    model.neck[0] = torch.nn.Identity()
    maps = []
    levels = [torch.randn(1, 16, 64 // stride, 192 // stride) for stride in (4, 8, 16, 32)]
    for width, spoilt in ((96, 0.0), (96, 100.0), (192, 0.0)):
        one = sample('[a red star]', img_shape=(64, 40))
        data = model.data_preprocessor(batch(one))
        data['inputs'] = torch.zeros(1, 3, 64, width)
        (own,) = data['data_samples']
        own.set_metainfo(dict(geometry=own.geometry.on_canvas((64, width))))
        outputs = [
            level[..., : width // s].clone() for level, s in zip(levels, STRIDES, strict=True)
        ]
        for level, stride in zip(outputs, STRIDES, strict=True):
            level[..., -(-40 // stride) :] += spoilt
        model.backbone = _Constant(outputs)
        with torch.no_grad():
            maps.append(model(**data, mode='tensor')[-1][..., :5])
    torch.testing.assert_close(maps[1], maps[0])
    torch.testing.assert_close(maps[2], maps[0])


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
