import naive_layers as naive
import pytest
import torch

from mmground.models.heads import ProgressiveUpsampling


def test_by_hand():
    torch.manual_seed(0)
    module = naive.randomise_norms(ProgressiveUpsampling(6, channels=(4, 3))).eval()
    features = torch.randn(2, 6, 2, 3)
    with torch.no_grad():
        result = module(features)
        assert result.shape == (2, 2, 8, 12)
        for own, expected in zip(features, result, strict=True):
            for index in (1, 3):
                own = naive.conv_module(naive.double_size(own), module.layers[index])
            logits = naive.conv(own, module.classifier)
            torch.testing.assert_close(expected.double(), logits, atol=1e-5, rtol=1e-5)


def test_logits_are_float32():
    module = ProgressiveUpsampling(4, channels=(2,))
    with torch.autocast('cpu', torch.bfloat16):
        assert module(torch.randn(2, 4, 2, 2)).dtype == torch.float32


def test_the_size_of_the_paper():
    with torch.device('meta'):
        module = ProgressiveUpsampling()
    assert module(torch.empty(1, 1024, 52, 52, device='meta')).shape == (1, 2, 416, 416)


def test_training_starts_with_the_prior_of_foreground():
    torch.manual_seed(0)
    features = torch.randn(2, 16, 6, 6)
    for prior in (0.01, 0.3):
        probs = ProgressiveUpsampling(16, (8, 4), foreground_prior=prior)(features).softmax(1)[:, 1]
        assert probs.mean().item() == pytest.approx(prior, rel=0.05)
        assert probs.std() < prior / 5


def test_logits_are_enlarged_in_the_end():
    torch.manual_seed(0)
    features = torch.randn(2, 6, 3, 4)
    module = ProgressiveUpsampling(6, (4,), logits_scale=2).eval()
    small = ProgressiveUpsampling(6, (4,)).eval()
    small.load_state_dict(module.state_dict())
    with torch.no_grad():
        logits = small(features)
        result = module(features)
    assert result.shape == (2, 2, 12, 16)
    # Between two centres: three quarters of the nearer.
    column = 0.75 * logits[..., 1] + 0.25 * logits[..., 2]
    torch.testing.assert_close(result[:, :, 3, 3], 0.75 * column[:, :, 1] + 0.25 * column[:, :, 2])
