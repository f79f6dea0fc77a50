import math
from types import SimpleNamespace

import pytest
import torch

from mmground.engine.hooks import ActivationCheckpointHook
from mmground.models.heads import VisionLanguageEncoder

C, HEADS = 8, 2


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = VisionLanguageEncoder(C, num_layers=2, num_heads=HEADS, feedforward_channels=12)
    for name, parameter in encoder.named_parameters():
        if parameter.dim() == 1:
            # Not the initial ones and zeros, with which an exchange would not show.
            torch.nn.init.normal_(parameter, float(name.endswith('norm.weight')), 0.1)
    return encoder.eval()


@pytest.fixture
def inputs():
    """Two images, three texts of up to five tokens."""
    generator = torch.Generator().manual_seed(0)
    valid = torch.ones(2, 3, 4, dtype=torch.bool)
    valid[1, 0] = valid[1, :, 3] = False
    is_token = torch.arange(5) < torch.tensor([[5], [3], [4]])
    return dict(
        points=torch.randn(2, C, 3, 4, generator=generator),
        valid=valid,
        tokens=torch.randn(3, 5, C, generator=generator),
        is_token=is_token,
        image_index=torch.tensor([1, 0, 1]),
    )


def _layer_norm(x, norm):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return (x - mean) / torch.sqrt(variance + 1e-5) * norm.weight + norm.bias


def _point_codes(valid):
    """Sine of rows, then columns, counted where the image is, relative to its size."""
    height, width = valid.shape
    codes = torch.zeros(height, width, C)
    half = C // 2
    for row in range(height):
        for column in range(width):
            y = (valid[: row + 1, column].sum() - 0.5) / (valid[:, column].sum() + 1e-6)
            x = (valid[row, : column + 1].sum() - 0.5) / (valid[row].sum() + 1e-6)
            for k in range(half):
                for offset, place in ((0, y), (half, x)):
                    angle = 2 * math.pi * place / 10000 ** (2 * (k // 2) / half)
                    codes[row, column, offset + k] = angle.cos() if k % 2 else angle.sin()
    return codes.flatten(0, 1)


def _text_codes(length):
    angles = [[place / 10000 ** (2 * (k // 2) / C) for k in range(C)] for place in range(length)]
    return torch.tensor(
        [[math.cos(a) if k % 2 else math.sin(a) for k, a in enumerate(own)] for own in angles]
    )


def _naive(encoder, points, valid, tokens):
    """One image and one text without padding: outputs of all layers, attention of [CLS]."""
    num_points, width = valid.numel(), C // HEADS
    x = _layer_norm(torch.cat((points.flatten(1).T, tokens)), encoder.input_norm)
    positions = torch.cat((_point_codes(valid), _text_codes(len(tokens))))
    readable = torch.cat((valid.flatten(), torch.ones(len(tokens), dtype=torch.bool)))
    outputs = []
    for layer in encoder.layers:
        placed = x + positions
        weights, biases = layer.attention.in_proj_weight, layer.attention.in_proj_bias
        query, key = (
            placed @ weights[i * C : (i + 1) * C].T + biases[i * C : (i + 1) * C] for i in (0, 1)
        )
        value = x @ weights[2 * C :].T + biases[2 * C :]
        found, attention = torch.zeros_like(x), []
        for head in range(HEADS):
            own = slice(head * width, (head + 1) * width)
            scores = query[:, own] @ key[:, own].T / math.sqrt(width)
            scores[:, ~readable] = -torch.inf
            attention.append(scores.exp() / scores.exp().sum(1, keepdim=True))
            found[:, own] = attention[-1] @ value[:, own]
        found = layer.attention.out_proj(found)
        a = _layer_norm(placed + found, layer.attention_norm)
        linear_1, linear_2 = layer.ffn.layers[0][0], layer.ffn.layers[1]
        inner = linear_1(a)
        inner = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
        x = _layer_norm(a + linear_2(inner), layer.ffn_norm)
        outputs.append(_layer_norm(x, encoder.output_norm)[:num_points])
    return torch.stack(outputs), torch.stack(attention).mean(0)[num_points, :num_points]


def test_matches_a_naive_computation(encoder, inputs):
    with torch.no_grad():
        states, attention = encoder(**inputs, all_layers=True, return_attention=True)
        assert states.shape == (2, 3, 12, C)
        for text, image in enumerate(inputs['image_index'].tolist()):
            tokens = inputs['tokens'][text][inputs['is_token'][text]]
            valid = inputs['valid'][image]
            expected, weights = _naive(encoder, inputs['points'][image], valid, tokens)
            # The sine code of a row without image is noise, and so is what becomes of it.
            kept = valid.flatten()
            torch.testing.assert_close(states[:, text, kept], expected[:, kept], atol=1e-5, rtol=0)
            torch.testing.assert_close(attention[text], weights, atol=1e-6, rtol=0)


def test_only_what_is_asked_for(encoder, inputs):
    with torch.no_grad():
        every, _ = encoder(**inputs, all_layers=True)
        last, attention = encoder(**inputs)
    assert attention is None
    assert torch.equal(last, every[-1:])


def test_padding_has_no_influence(encoder, inputs):
    changed = {name: value.clone() for name, value in inputs.items()}
    changed['points'].masked_fill_(~inputs['valid'][:, None], 9.0)
    changed['tokens'][~inputs['is_token']] = 9.0
    longer = dict(
        changed,
        tokens=torch.cat((changed['tokens'], torch.full((3, 4, C), 9.0)), 1),
        is_token=torch.cat((changed['is_token'], torch.zeros(3, 4, dtype=torch.bool)), 1),
    )
    kept = inputs['valid'].flatten(1)[inputs['image_index']]
    with torch.no_grad():
        states = [encoder(**own)[0][:, kept] for own in (inputs, changed, longer)]
    for own in states[1:]:
        torch.testing.assert_close(own, states[0], atol=1e-6, rtol=0)


def test_a_text_depends_on_its_image_only(encoder, inputs):
    changed = dict(inputs, points=inputs['points'].clone())
    changed['points'][0] += 1
    with torch.no_grad():
        before, after = (encoder(**own)[0][0] for own in (inputs, changed))
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.equal(before[1], after[1])


def test_gradients(encoder, inputs):
    encoder.train()
    points, tokens = inputs['points'].requires_grad_(), inputs['tokens'].requires_grad_()
    encoder(**inputs)[0].square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name
    assert points.grad.isfinite().all()
    assert not tokens.grad[~inputs['is_token']].any()


def test_activation_checkpointing(encoder, inputs):
    gradients = []
    encoder.train()
    for checkpointed in (False, True):
        if checkpointed:
            hook = ActivationCheckpointHook(['layers'])
            hook.before_train(SimpleNamespace(model=encoder))
        encoder.zero_grad()
        torch.manual_seed(0)
        encoder(**inputs)[0].square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_half_precision(encoder, inputs):
    with torch.no_grad():
        exact, weights = encoder(**inputs, return_attention=True)
        with torch.autocast('cpu', torch.bfloat16):
            half, half_weights = encoder(**inputs, return_attention=True)
    kept = inputs['valid'].flatten(1)[inputs['image_index']]
    torch.testing.assert_close(half.float()[:, kept], exact[:, kept], atol=0.1, rtol=0)
    torch.testing.assert_close(half_weights.float(), weights, atol=0.02, rtol=0)


def test_initialisation():
    """Xavier's, of the three projections of the attention together."""
    torch.manual_seed(0)
    encoder = VisionLanguageEncoder(64, 1, 4, 128)
    for name, parameter in encoder.named_parameters():
        if parameter.dim() > 1:
            bound = math.sqrt(6 / sum(parameter.shape))
            assert bound * 0.98 < parameter.abs().max() <= bound, name
    assert not encoder.layers[0].attention.in_proj_bias.any()
