import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention

from mmground.models.layers.deformable_attention import DeformableAttention, pixel_centres

SHAPES = [(4, 6), (2, 3)]
AREA = 30


def _attention():
    attention = DeformableAttention(16, num_heads=4, num_levels=2, num_points=3)
    # As drawn, all queries attend alike.
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return attention


def _inputs(queries=5):
    torch.manual_seed(0)
    return torch.randn(2, queries, 16), torch.randn(2, AREA, 16), torch.rand(2, queries, 2)


def test_pixel_centres():
    centres = pixel_centres([(1, 2), (2, 1)])
    expected = [[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]]
    torch.testing.assert_close(centres, torch.tensor(expected))


@pytest.mark.parametrize('masked', [False, True])
def test_is_the_module_of_mmcv_without_residual(masked):
    attention = _attention()
    parent = MultiScaleDeformableAttention(16, 4, 2, 3, dropout=0.1, batch_first=True).eval()
    parent.load_state_dict(attention.state_dict(), strict=True)
    query, memory, points = _inputs()
    mask = torch.rand(2, AREA) > 0.5 if masked else None
    expected = parent(
        query,
        value=memory,
        identity=torch.zeros_like(query),
        key_padding_mask=mask,
        reference_points=points[:, :, None].expand(-1, -1, 2, -1),
        spatial_shapes=torch.tensor(SHAPES),
    )
    result = attention(query, memory, points, SHAPES, padding_mask=mask)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    value = attention.project_value(memory, mask)
    assert value.shape == (2, AREA, 4, 4)
    torch.testing.assert_close(attention(query, value, points, SHAPES), result)


def test_shared_reference_points():
    attention = _attention()
    query, memory, _ = _inputs(queries=AREA)
    points = pixel_centres(SHAPES)
    shared = attention(query, memory, points, SHAPES)
    own = attention(query, memory, points.expand(2, -1, -1), SHAPES)
    torch.testing.assert_close(shared, own)


def test_initial_sampling_is_a_ring():
    """Offsets in pixels of their level, weights alike: Sec. 4.1 of Deformable DETR."""
    attention = DeformableAttention(16, num_heads=4, num_levels=2, num_points=3)
    query, _, points = _inputs()
    locations, weights = attention.sampling(query, points, SHAPES)
    ring = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    for level, (height, width) in enumerate(SHAPES):
        for point in range(3):
            offsets = locations[:, :, :, level, point] - points[:, :, None]
            offsets = offsets * torch.tensor([width, height])
            expected = (ring * (point + 1)).expand_as(offsets)
            torch.testing.assert_close(offsets, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 6))


def test_sampling_stays_in_single_precision_under_autocast():
    attention = _attention()
    query, memory, points = _inputs()
    expected = attention(query, memory, points, SHAPES)
    with torch.autocast('cpu', torch.bfloat16):
        locations, weights = attention.sampling(query, points, SHAPES)
        result = attention(query, memory, points, SHAPES)
    assert locations.dtype == weights.dtype == torch.float32
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), expected, atol=0.1, rtol=0.1)
    result.float().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in attention.parameters())


def test_another_number_of_levels_is_an_error():
    query, memory, points = _inputs()
    with pytest.raises(ValueError, match='num_levels=2'):
        _attention()(query, memory, points, [(5, 6)])
