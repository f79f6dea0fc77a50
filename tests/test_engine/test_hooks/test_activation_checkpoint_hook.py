from types import SimpleNamespace

import pytest
import torch
from small_drmn import small_drmn
from small_ppmn import batch, build, sample, write_vocabulary
from torch import nn

from mmground.engine import ActivationCheckpointHook

PARTS = ['backbone', 'neck.1.branches', 'text_encoder.model.encoder.layer', 'head.rounds']


def _gradients(model) -> dict:
    """Of a training step, with dropout. Batch normalisation has its running statistics."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    texts = ('[a red star] on [the grass]', '[two blue rings] on [the grass]')
    data = batch(*(sample(text, path=f'{i}.jpg') for i, text in enumerate(texts)))
    torch.manual_seed(3)
    losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    model.parse_losses(losses)[0].backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


def _saved_bytes(model) -> int:
    """What the forward pass keeps for the backward pass."""
    sizes = []

    def keep(tensor):
        sizes.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        data = model.data_preprocessor(batch(sample('[a red star] on [the grass]')), True)
        model(**data, mode='loss')
    return sum(sizes)


@pytest.fixture
def vocab_file(tmp_path):
    return write_vocabulary(tmp_path / 'vocab.txt')


@pytest.mark.parametrize('system', ['ppmn', 'drmn-official', 'drmn-paper'])
def test_gradients_are_the_same_and_memory_is_less(vocab_file, system):
    changes, parts = {}, PARTS
    if system.startswith('drmn'):
        changes = small_drmn(vocab_file, system.removeprefix('drmn-'))
        parts = [name.replace('neck.1.branches', 'neck.1.layers') for name in PARTS]
    plain, frugal = build(vocab_file, **changes), build(vocab_file, **changes)
    ActivationCheckpointHook(parts).before_train(SimpleNamespace(model=frugal))
    expected, actual = _gradients(plain), _gradients(frugal)
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient is not None, name
        torch.testing.assert_close(actual[name], gradient, atol=0, rtol=0, msg=name)
    assert _saved_bytes(frugal) < 0.6 * _saved_bytes(plain)


def test_the_first_part_gets_its_gradients(vocab_file):
    # No input of it takes a gradient, which the older kind of checkpointing does not survive.
    model = build(vocab_file)
    ActivationCheckpointHook('backbone').before_train(SimpleNamespace(model=model))
    assert _gradients(model)['backbone.conv1.weight'].abs().sum() > 0


def test_inference_is_as_before(vocab_file):
    plain, frugal = build(vocab_file).eval(), build(vocab_file).eval()
    ActivationCheckpointHook(PARTS).before_train(SimpleNamespace(model=frugal))
    data = batch(sample('[a red star]'))
    with torch.no_grad():
        maps = [model(**model.data_preprocessor(data), mode='tensor') for model in (plain, frugal)]
    assert all(torch.equal(*pair) for pair in zip(*maps, strict=True))


@pytest.mark.parametrize('name', ['head.round', 'neck.7', ''])
def test_a_part_that_does_not_exist(vocab_file, name):
    runner = SimpleNamespace(model=build(vocab_file))
    with pytest.raises(ValueError, match=f"'{name}' names no part of the Grounder"):
        ActivationCheckpointHook([name]).before_train(runner)
