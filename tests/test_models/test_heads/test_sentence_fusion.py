import naive_layers as naive
import pytest
import torch

from mmground.models.heads import SentenceFusion, cell_coordinates

CHANNELS = (3, 5, 4)


def _build(**settings):
    torch.manual_seed(0)
    fusion = SentenceFusion(CHANNELS, sentence_channels=6, channels=4, **settings)
    return naive.randomise_norms(fusion).eval()


def _inputs(images=2):
    generator = torch.Generator().manual_seed(1)
    feats = [
        torch.randn(images, channels, 12 // 2**level, 8 // 2**level, generator=generator)
        for level, channels in enumerate(CHANNELS)
    ]
    return feats, torch.randn(3, 6, generator=generator), torch.tensor([1, 0, 1])


def _sigma(maps, norm, slope=0.1):
    return naive.leaky_relu(naive.batch_norm(maps, norm), slope)


@pytest.mark.parametrize(
    'settings',
    [{}, dict(kernel_sizes=(1, 1, 3), mixing_kernel_size=3), dict(post_norm=True)],
)
def test_equations_1_and_2(settings):
    fusion = _build(**settings)
    feats, sentence, image_index = _inputs()
    with torch.no_grad():
        result = fusion(feats, sentence, image_index)
        assert result.shape == (3, 4, 12, 8)
        for text, image in enumerate(image_index.tolist()):
            projected = naive.linear(
                sentence[text : text + 1], fusion.sentence_proj.weight, fusion.sentence_proj.bias
            )
            modulation = _sigma(projected[0], fusion.sentence_norm)
            own = [
                naive.conv_module(feat[image], module)
                for feat, module in zip(feats, fusion.image_convs, strict=True)
            ]
            fused = torch.zeros_like(own[2])
            for y in range(3):
                for x in range(2):
                    fused[:, y, x] = modulation * own[2][:, y, x]
            if settings.get('post_norm'):
                fused = _sigma(fused, fusion.post_norm[0])
            for level in (1, 0):
                both = torch.cat((naive.double_size(fused), own[level]))
                fused = naive.conv_module(both, fusion.mixing_convs[level])
            torch.testing.assert_close(result[text].double(), fused, atol=1e-5, rtol=1e-5)


def test_images_are_projected_once():
    fusion = _build()
    seen = {}
    for name in ('image_convs', 'mixing_convs'):
        for index, module in enumerate(getattr(fusion, name)):
            module.register_forward_pre_hook(
                lambda _, args, key=(name, index): seen.setdefault(key, []).append(len(args[0]))
            )
    fusion(*_inputs())
    assert seen == {
        **{('image_convs', index): [2] for index in range(3)},
        **{('mixing_convs', index): [3] for index in range(2)},
    }


def test_coordinates():
    coordinates = cell_coordinates(torch.zeros(2, 5, 4, 2))
    assert coordinates.shape == (2, 2, 4, 2)
    for y in range(4):
        for x in range(2):
            expected = torch.tensor([(x + 0.5) / 2 * 2 - 1, (y + 0.5) / 4 * 2 - 1])
            torch.testing.assert_close(coordinates[1, :, y, x], expected)
    blind, placed = _build(), _build(with_coord=True)
    flat = [torch.ones(1, channels, 64 // 2**i, 64 // 2**i) for i, channels in enumerate(CHANNELS)]
    with torch.no_grad():
        for fusion, equal in ((blind, True), (placed, False)):
            # Far from the border, where zero padding tells of it.
            inner = fusion(flat, torch.ones(1, 6), torch.tensor([0]))[0, :, 24:40, 24:40]
            assert torch.allclose(inner, inner[:, :1, :1].expand_as(inner), atol=1e-6) == equal


def test_one_sentence_cannot_be_trained_by_batch_norm():
    feats, sentence, _ = _inputs()
    index = torch.tensor([0])
    with pytest.raises(ValueError, match=r'two at least .* or set .*sentence_norm_cfg=dict\(type='):
        _build().train()(feats, sentence[:1], index)
    _build()(feats, sentence[:1], index)
    _build(sentence_norm_cfg=dict(type='LN')).train()(feats, sentence[:1], index)


def test_wrong_maps_and_settings():
    feats, sentence, index = _inputs()
    feats[2] = feats[2][:, :, :2]
    with pytest.raises(ValueError, match=r'\(6, 4\), \(2, 2\)\], .* set pad_size_divisor'):
        _build()(feats, sentence, index)
    with pytest.raises(ValueError, match=r'one for each of the 3 maps, got \[1, 3\]'):
        _build(kernel_sizes=(1, 3))
