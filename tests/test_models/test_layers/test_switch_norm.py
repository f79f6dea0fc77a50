import pytest
import torch
from mmcv.cnn import build_norm_layer
from processes import run_processes
from torch import nn

from mmground.models.layers import SwitchNorm2d
from mmground.registry import MODELS


def random_norm(channels=4, **settings):
    """A layer in double precision in which no parameter and no statistic is a default."""
    torch.manual_seed(0)
    norm = SwitchNorm2d(channels, **settings).double()
    for value in norm.parameters():
        nn.init.normal_(value)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm


def naive(norm, x):
    """The definition, value by value; also the mean and variance of the batch."""

    def statistics(values):
        mean = sum(values) / len(values)
        return mean, sum((value - mean) ** 2 for value in values) / len(values)

    def softmax(logits):
        powers = [torch.e**logit for logit in logits.tolist()]
        return [power / sum(powers) for power in powers]

    batch, channels, height, width = x.shape
    pixels = [(row, column) for row in range(height) for column in range(width)]
    shares = softmax(norm.mean_weight), softmax(norm.var_weight)
    output, of_batch = torch.empty_like(x), []
    for c in range(channels):
        if norm.training:
            own = statistics([float(x[b, c, i, j]) for b in range(batch) for i, j in pixels])
        else:
            own = float(norm.running_mean[c]), float(norm.running_var[c])
        of_batch.append(own)
        for b in range(batch):
            kinds = (
                statistics([float(x[b, c, i, j]) for i, j in pixels]),
                statistics([float(x[b, k, i, j]) for k in range(channels) for i, j in pixels]),
                own,
            )
            mean, var = (
                sum(share * kind[which] for share, kind in zip(shares[which], kinds, strict=True))
                for which in range(2)
            )
            for i, j in pixels:
                value = (float(x[b, c, i, j]) - mean) / (var + norm.eps) ** 0.5
                output[b, c, i, j] = value * norm.weight[c] + norm.bias[c]
    return output, torch.tensor(of_batch, dtype=x.dtype).T


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('shape', [(3, 4, 2, 5), (1, 4, 3, 2), (2, 4, 1, 1)])
def test_equals_the_definition(training, shape):
    norm = random_norm(eps=1e-3).train(training)
    x = torch.randn(shape, dtype=torch.float64) * 2 + 1
    before = norm.running_mean.clone()
    with torch.no_grad():
        expected, _ = naive(norm, x)
        torch.testing.assert_close(norm(x), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(before, norm.running_mean) is not training


def test_gradients():
    norm = random_norm()
    x = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    state = {name: value.clone() for name, value in norm.state_dict().items()}

    def run(x, *parameters):
        names = [name for name, _ in norm.named_parameters()]
        return torch.func.functional_call(
            norm, {**state, **dict(zip(names, parameters, strict=True))}, (x,)
        )

    assert torch.autograd.gradcheck(run, (x, *norm.parameters()))


@pytest.mark.parametrize('which', range(3))
def test_one_kind_alone_is_the_plain_layer(which):
    norm = SwitchNorm2d(6)
    x = torch.randn(3, 6, 4, 5) + 2
    plain = (nn.InstanceNorm2d(6), nn.GroupNorm(1, 6), nn.BatchNorm2d(6))[which]
    for logits in (norm.mean_weight, norm.var_weight):
        nn.init.constant_(logits, -1e4)
        logits.data[which] = 0
    torch.testing.assert_close(norm(x), plain(x), rtol=1e-5, atol=1e-5)


def test_running_statistics_after_training_steps():
    norm = SwitchNorm2d(4, momentum=0.3).double()
    assert norm.running_mean.tolist() == [0] * 4 and norm.running_var.tolist() == [1] * 4
    optimizer = torch.optim.SGD(norm.parameters(), lr=0.1)
    mean, var = torch.zeros(4).double(), torch.ones(4).double()
    for _ in range(5):
        x = torch.randn(2, 4, 3, 3, dtype=torch.float64) * 3 + 2
        own_mean, own_var = naive(norm, x)[1]
        mean, var = 0.7 * mean + 0.3 * own_mean, 0.7 * var + 0.3 * own_var
        norm(x).square().sum().backward()
        optimizer.step()
        torch.testing.assert_close(norm.running_mean, mean)
        torch.testing.assert_close(norm.running_var, var)
    assert not norm.running_mean.requires_grad
    norm.eval()(torch.randn(2, 4, 3, 3, dtype=torch.float64))
    torch.testing.assert_close(norm.running_mean, mean)


def test_evaluation_comes_to_agree_with_training():
    torch.manual_seed(0)
    norm = SwitchNorm2d(3)
    scale = torch.tensor([0.5, 2, 8])[:, None, None]
    shift = torch.tensor([3.0, -1, 0])[:, None, None]
    batches = [torch.randn(8, 3, 16, 16) * scale + shift for _ in range(100)]
    outputs = [norm(batch) for batch in batches]
    torch.testing.assert_close(norm.eval()(batches[-1]), outputs[-1], rtol=0, atol=0.02)


def test_small_variance_beside_a_large_mean():
    x = torch.randn(2, 3, 8, 8) * 0.01 + 10
    exact = SwitchNorm2d(3).double()(x.double())
    # What float32 itself leaves of the values' digits.
    torch.testing.assert_close(SwitchNorm2d(3)(x).double(), exact, rtol=0, atol=1e-3)


def test_float32_under_autocast():
    torch.manual_seed(0)
    norm = SwitchNorm2d(4)
    x = torch.randn(2, 4, 6, 6) * 100 + 1000
    whole = norm(x)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(norm(x), whole)
        half = norm(x.bfloat16())
        # Only the input and the output are rounded.
        expected = norm(x.bfloat16().float())
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, expected.bfloat16())
    large = torch.full((1, 4, 8, 8), 3e4).half()
    large[..., ::2] = -3e4
    assert norm(large).isfinite().all() and norm.running_var.isfinite().all()


def test_is_a_norm_layer_of_mmcv():
    name, norm = build_norm_layer(dict(type='SwitchNorm2d', momentum=0.2), 8, postfix=1)
    assert name == 'sn1' and isinstance(norm, SwitchNorm2d)
    assert norm.num_features == 8 and norm.momentum == 0.2
    assert MODELS.get('mmground.SwitchNorm2d') is SwitchNorm2d
    frozen = build_norm_layer(dict(type='SwitchNorm2d', requires_grad=False), 8)[1]
    assert not any(value.requires_grad for value in frozen.parameters())


@pytest.mark.parametrize('shape', [(2, 3, 4, 4), (2, 4, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r'takes maps \(B, 4, H, W\), got'):
        SwitchNorm2d(4)(torch.zeros(shape))


def _parts():
    """Parts of one batch; they differ in number and size of maps."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((3, 4, 2, 2), (1, 4, 3, 5))
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def _step(rank, sync):
    norm, x = random_norm(sync=sync), _parts()[rank].requires_grad_()
    output = norm(x)
    # Gradients of the sum over the processes.
    output.pow(3).sum().backward()
    gradients = [x.grad, *(value.grad for value in norm.parameters())]
    tensors = [output.detach(), norm.running_mean, norm.running_var, *gradients]
    return [tensor.numpy() for tensor in tensors]


def test_statistics_of_all_processes(tmp_path):
    """Against one process in which the batch part sees all pixels."""
    norm, parts = random_norm(), [part.requires_grad_() for part in _parts()]
    pixels = torch.cat([part.transpose(0, 1).flatten(1) for part in parts], 1)
    var, mean = torch.var_mean(pixels, 1, correction=0)
    norm._batch_statistics = lambda *_: (mean, var)
    outputs = [norm(part) for part in parts]
    sum(output.pow(3).sum() for output in outputs).backward()
    results = run_processes(_step, tmp_path, True)
    for result, output, part in zip(results, outputs, parts, strict=True):
        result = [torch.from_numpy(array) for array in result]
        fresh = random_norm()
        for ours, theirs in (
            (result[0], output.detach()),
            (result[1], fresh.running_mean * 0.9 + mean.detach() * 0.1),
            (result[2], fresh.running_var * 0.9 + var.detach() * 0.1),
            (result[3], part.grad),
        ):
            torch.testing.assert_close(ours, theirs)
    for index, value in enumerate(norm.parameters()):
        total = sum(torch.from_numpy(result[4 + index]) for result in results)
        torch.testing.assert_close(total, value.grad)


def test_without_sync_each_process_has_its_own(tmp_path):
    for result, part in zip(run_processes(_step, tmp_path, False), _parts(), strict=True):
        expected = random_norm()(part).detach()
        torch.testing.assert_close(torch.from_numpy(result[0]), expected)
