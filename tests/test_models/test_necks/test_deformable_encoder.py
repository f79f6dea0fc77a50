import pytest
import torch
from mmdet.models.layers import SinePositionalEncoding

from mmground.models.layers.deformable_attention import pixel_centres
from mmground.models.layers.position_codes import pixel_position_code
from mmground.models.necks import DeformableEncoder, LevelAverage, SemanticFPN

PAPER = dict(
    project_levels=False,
    level_embedding=False,
    position_code='normalized',
    positions_in_each_layer=False,
    fixed_values=True,
)
NORM = dict(type='GN', num_groups=2)


def _encoder(seed=0, layer=None, **kwargs):
    torch.manual_seed(seed)
    layer = dict(num_heads=2, num_points=2, feedforward_channels=16, **(layer or {}))
    encoder = DeformableEncoder(8, layer=layer, norm_cfg=NORM, **kwargs)
    # As drawn, all queries attend alike.
    for layer in encoder.layers:
        for weight in layer.attention.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return encoder.eval()


def _levels(size=16, batch=2):
    torch.manual_seed(3)
    return [torch.randn(batch, 8, size >> level, 2 * size >> level) for level in range(4)]


def _rows(levels):
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)


def test_official_form():
    """Positions and level embeddings in the queries of each layer, values from the layer before."""
    encoder = _encoder()
    levels = _levels()
    encoded = encoder(levels)
    projected = [project(level) for project, level in zip(encoder.projections, levels, strict=True)]
    shapes = [(8, 16), (8, 16), (4, 8), (2, 4)]
    assert [tuple(level.shape[-2:]) for level in encoded] == shapes
    pixels = _rows(projected)
    codes = [
        pixel_position_code(*shape, 8) + embedding[:, None, None]
        for shape, embedding in zip(shapes, encoder.level_embedding, strict=True)
    ]
    codes = _rows([code[None] for code in codes])
    for layer in encoder.layers:
        pixels = layer(pixels + codes, pixels, pixel_centres(shapes), shapes, identity=pixels)
    torch.testing.assert_close(_rows(encoded), pixels)


@pytest.mark.parametrize('residual', ['attention', 'query'])
def test_form_of_the_paper(residual):
    """Lines 3-12 of Alg. 1."""
    encoder = _encoder(**PAPER, layer=dict(residual=residual, ffn_residual=False))
    levels = _levels()
    encoded = encoder(levels)
    shapes = [tuple(level.shape[-2:]) for level in levels]
    code = SinePositionalEncoding(4, normalize=True)
    values = _rows(levels)
    pixels = values + _rows([code(torch.zeros(1, *shape)) for shape in shapes])
    for layer in encoder.layers:
        pixels = layer(pixels, values, pixel_centres(shapes), shapes)
    torch.testing.assert_close(_rows(encoded), pixels)
    assert [level.shape for level in encoded] == [level.shape for level in levels]
    assert encoder.projections is encoder.level_embedding is None


def test_without_layers_levels_are_projected_only():
    encoder, levels = _encoder(num_layers=0), _levels()
    assert not [name for name, _ in encoder.named_parameters() if 'projections' not in name]
    for project, level, encoded in zip(encoder.projections, levels, encoder(levels), strict=True):
        assert torch.equal(encoded, project(level))
    for level, encoded in zip(levels, _encoder(num_layers=0, **PAPER)(levels), strict=True):
        assert torch.equal(encoded, level)


@pytest.mark.parametrize('form', [{}, PAPER])
def test_padding_is_left_out_on_demand(form):
    levels = _levels()
    valid = torch.zeros(2, 64, 128, dtype=torch.bool)
    valid[0, :, :96] = True
    valid[1, :40] = True
    spoilt = [level.clone() for level in levels]
    masks = []
    for level, stride in zip(spoilt, (4, 8, 16, 32), strict=True):
        centres = slice(stride // 2, None, stride)
        masks.append(valid[:, None, centres, centres].expand_as(level))
        level[~masks[-1]] = 100 * torch.randn(())
    encoder = _encoder(ignore_padding=True, **form)
    before, after = encoder(levels, valid_mask=valid), encoder(spoilt, valid_mask=valid)
    if not form:
        masks[0] = masks[1]
    for one, two, mask in zip(before, after, masks, strict=True):
        torch.testing.assert_close(one, two)
        assert one[mask].all() and not one[~mask].any()
    encoder.ignore_padding = False
    assert (encoder(levels)[0] - encoder(spoilt)[0])[masks[0]].abs().max() > 0.1


def test_padding_without_a_mask_is_an_error():
    with pytest.raises(ValueError, match='valid_mask'):
        _encoder(ignore_padding=True)(_levels())


@pytest.mark.parametrize('form', ['official', 'paper'])
def test_gradients_reach_all_parameters_and_levels(form):
    encoder = _encoder(
        **(PAPER if form == 'paper' else {}),
        layer=dict(residual='query', ffn_residual=False) if form == 'paper' else None,
    )
    neck = LevelAverage()
    if form == 'official':
        neck = SemanticFPN(8, 8, (8, 8, 16, 32), out_conv=False, keep_levels=True, norm_cfg=NORM)
    levels = [level.requires_grad_() for level in _levels()]
    fused, *memory = neck(encoder.train()(levels))
    assert fused.shape == (2, 8, 8, 16) and len(memory) == 4
    sum(feats.square().mean() for feats in (fused, *memory)).backward()
    for name, weight in (*encoder.named_parameters(), *neck.named_parameters()):
        assert weight.grad.isfinite().all() and weight.grad.any(), name
    assert all(level.grad.isfinite().all() and level.grad.any() for level in levels)


def test_initialisation():
    encoder = DeformableEncoder()
    encoder.init_weights()
    for index, inputs in enumerate((16 * 256, 256, 256, 256)):
        weight = encoder.projections[index].conv.weight
        bound = (6 / (2 * inputs)) ** 0.5
        assert 0.95 * bound < weight.abs().max() <= bound
    assert 0.9 < encoder.level_embedding.std() < 1.1
    assert not encoder.layers[0].attention.sampling_offsets.weight.any()


def test_an_unknown_position_code_is_an_error():
    with pytest.raises(ValueError, match='position_code'):
        DeformableEncoder(8, position_code='learned')
