import naive_layers as naive
import pytest
import torch

from mmground.models.heads import ContextualStage

C, Q, SHAPE = 8, 3, (2, 3)


def _build(**settings):
    torch.manual_seed(0)
    stage = ContextualStage(C, num_heads=2, **settings)
    for name, own in stage.named_parameters():
        if own.ndim == 1 and 'norm.weight' not in name:
            # Biases start at zero.
            own.data.normal_(std=0.3)
    return stage.eval()


def _inputs():
    generator = torch.Generator().manual_seed(1)
    context = torch.randn(2, Q, C, generator=generator)
    return context, *torch.randn(3, 2, C, *SHAPE, generator=generator)


@pytest.mark.parametrize('norm_context', [False, True])
@pytest.mark.parametrize('masked', [False, True])
def test_equations_3_and_4(norm_context, masked):
    stage = _build(norm_context=norm_context)
    context, fused, values, features = _inputs()
    padding = torch.tensor([[[0, 0, 1], [0, 1, 1]], [[0, 0, 0], [1, 1, 1]]]).bool()
    with torch.no_grad():
        result = stage(context, fused, values, features, padding if masked else None)
        for text in range(2):
            own = [naive.tokens(maps[text]) for maps in (fused, values, features)]
            seen = ~padding[text].flatten() if masked else None
            query = context[text].double()
            expected = query + naive.multihead_attention(
                query, own[0], own[1], stage.context_attention, seen
            )
            if norm_context:
                expected = naive.layer_norm(expected, stage.context_norm)
            torch.testing.assert_close(result[0][text].double(), expected, atol=1e-5, rtol=1e-5)
            cells = own[2].double() + naive.multihead_attention(
                own[2], expected, expected, stage.mask_attention
            )
            refreshed = naive.as_map(cells, *SHAPE)
            torch.testing.assert_close(result[1][text].double(), refreshed, atol=1e-5, rtol=1e-5)


def test_padding_has_a_weight_of_exactly_zero():
    stage = _build()
    context, fused, values, features = _inputs()
    padding = torch.zeros(2, *SHAPE, dtype=torch.bool)
    padding[:, :, 2] = True
    before = stage(context, fused, values, features, padding)
    for maps in (fused, values):
        maps[:, :, :, 2] = 1e4
    after = stage(context, fused, values, features, padding)
    for own, other in zip(before, after, strict=True):
        assert torch.equal(own, other)
    assert not torch.allclose(before[0], stage(context, fused, values, features)[0])


def test_the_alignment_ends_the_stage():
    stage = _build(alignment=dict(type='ProgressiveAlignment', norm_cfg=dict(type='BN')))
    context, fused, values, features = _inputs()
    with torch.no_grad():
        result = stage(context, fused, values, features)
        alignment, stage.alignment = stage.alignment, None
        plain = stage(context, fused, values, features)
        assert torch.equal(result[0], plain[0])
        torch.testing.assert_close(result[1], alignment(plain[1], features))
