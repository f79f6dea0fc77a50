import math
from types import SimpleNamespace

import pytest
import torch

from mmground.models.heads import ContrastiveHead
from mmground.structures import TextFeatures


def _samples(*said):
    return [SimpleNamespace(image_index=image, text=text) for image, text in said]


def _text(sentence):
    count = len(sentence)
    return TextFeatures(
        pieces=torch.zeros(count, 1, 1),
        valid=torch.ones(count, 1, dtype=torch.bool),
        offsets=torch.zeros(count, 1, 2, dtype=torch.long),
        is_token=torch.ones(count, 1, dtype=torch.bool),
        truncated=torch.zeros(count, dtype=torch.bool),
        sentence=sentence,
    )


def _inputs():
    generator = torch.Generator().manual_seed(3)
    feats = (torch.zeros(3, 1, 4, 4), torch.randn(3, 5, 2, 2, generator=generator))
    return feats, _text(torch.randn(4, 5, generator=generator, requires_grad=True))


def _cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


# Texts 0 and 3 are of one image, 1 and 2 say the same of two.
SAID = ((0, 'a red ball'), (1, 'a box'), (2, 'a box'), (0, 'the ball'))


def test_similarities_and_loss_by_hand():
    head = ContrastiveHead(temperature=0.25)
    feats, text = _inputs()
    samples = _samples(*SAID)
    images = [feats[1][image].mean((1, 2)).tolist() for image, _ in SAID]
    similar = [[_cosine(t, v) for v in images] for t in text.sentence.tolist()]
    found = head.tensor(feats, text, samples)
    torch.testing.assert_close(found, torch.tensor(similar))

    others = {0: [1, 2], 1: [0, 3], 2: [0, 3], 3: [1, 2]}
    total = 0
    for i, rest in others.items():
        over_images = [similar[i][i], *(similar[i][j] for j in rest)]
        over_texts = [similar[i][i], *(similar[j][i] for j in rest)]
        for values in (over_images, over_texts):
            total -= 4 * values[0] - math.log(sum(math.exp(4 * value) for value in values))
    losses = head.loss(feats, text, samples)
    assert losses['loss_contrast'].item() == pytest.approx(total / 8, rel=1e-5)
    found = sum(similar[i][i] > max(similar[i][j] for j in rest) for i, rest in others.items())
    assert losses['matched'].item() == found / 4
    losses['loss_contrast'].backward()
    assert head.logit_scale.grad.isfinite() and text.sentence.grad.isfinite().all()


def test_the_scale_is_bounded():
    feats, text = _inputs()
    losses = [
        ContrastiveHead(temperature, max_scale=10).loss(feats, text, _samples(*SAID))
        for temperature in (0.1, 0.001)
    ]
    assert losses[0]['loss_contrast'].item() == pytest.approx(losses[1]['loss_contrast'].item())


def test_predictions_are_similarities_to_the_own_image():
    head = ContrastiveHead()
    feats, text = _inputs()
    results = head.predict(feats, text, _samples(*SAID))
    expected = head.tensor(feats, text, _samples(*SAID))
    for index, result in enumerate(results):
        assert result.scores.tolist() == [expected[index, index].item()]
    # What is beyond it comes back within.
    head = ContrastiveHead(0.001, max_scale=10)
    loss = head.loss(feats, text, _samples(*SAID))['loss_contrast']
    loss.backward()
    assert head.logit_scale.item() == pytest.approx(math.log(10))
    assert head.logit_scale.grad.item() != 0
