import pytest
import torch
from small_ppmn import batch, build, sample, write_vocabulary
from torch import nn

from mmground.engine import CPUAmpOptimWrapper


@pytest.fixture(autouse=True)
def bfloat16(monkeypatch):
    monkeypatch.setattr('mmground.engine.optim_wrappers.cpu_has_bfloat16', lambda: True)


def test_a_processor_without_bfloat16_stays_in_float32(monkeypatch):
    monkeypatch.setattr('mmground.engine.optim_wrappers.cpu_has_bfloat16', lambda: False)
    model = nn.Linear(4, 2)
    wrapper = CPUAmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.5))
    with wrapper.optim_context(model):
        assert model(torch.rand(3, 4)).dtype == torch.float32


def test_forward_is_in_bfloat16_and_the_update_in_float32():
    model = nn.Linear(4, 2)
    before = model.weight.detach().clone()
    wrapper = CPUAmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.5))
    inputs = torch.rand(3, 4)
    with wrapper.optim_context(model):
        output = model(inputs)
    assert output.dtype == torch.bfloat16
    wrapper.update_params(output.float().sum())
    assert model.weight.dtype == torch.float32
    expected = before - 0.5 * inputs.sum(0).expand(2, 4)
    torch.testing.assert_close(model.weight.detach(), expected, atol=0.02, rtol=0)
    assert model(inputs).dtype == torch.float32


@pytest.mark.parametrize('counts', [1, 2])
def test_gradients_accumulate_as_in_the_plain_wrapper(counts):
    model = nn.Linear(4, 2)
    before = model.weight.detach().clone()
    wrapper = CPUAmpOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.5), accumulative_counts=counts
    )
    wrapper.initialize_count_status(model, 0, 2)
    with wrapper.optim_context(model):
        wrapper.update_params(model(torch.rand(3, 4)).float().sum())
    assert torch.equal(model.weight, before) == (counts == 2)


def test_losses_and_gradients_of_a_ppmn_are_close_to_those_of_float32(tmp_path):
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    data = batch(sample('[a red star] on [the grass]'), sample('[two blue rings]', path='b.jpg'))
    losses, gradients = [], []
    for mixed in (False, True):
        model = build(vocab_file)  # without train(): no dropout
        model.eval()
        wrapper = CPUAmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
        wrapper.enabled = mixed
        with wrapper.optim_context(model):
            parts = model(**model.data_preprocessor(data, training=True), mode='loss')
        assert all(value.dtype == torch.float32 for value in parts.values())
        loss, _ = model.parse_losses(parts)
        loss.backward()
        losses.append(parts)
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.head.parameters()]))
    exact, mixed = losses
    for name, value in exact.items():
        torch.testing.assert_close(mixed[name], value, rtol=0.03, atol=0.01, msg=name)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98
