import pytest
import torch
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
