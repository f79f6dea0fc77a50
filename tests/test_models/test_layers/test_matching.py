import torch
import torch.nn.functional as F

from mmground.models.layers.matching import gather_pixels, match_pixels, smooth_logits

# The second image of three has no query.
IMAGE_INDEX = torch.tensor([0, 0, 2, 2, 2])


def test_match_pixels_is_a_dot_product_with_the_own_image():
    queries, pixels = torch.randn(5, 6), torch.randn(3, 6, 4, 5)
    maps = match_pixels(queries, pixels, IMAGE_INDEX)
    for query, image, logits in zip(queries, IMAGE_INDEX, maps, strict=True):
        for row in range(4):
            for column in range(5):
                expected = query @ pixels[image, :, row, column]
                torch.testing.assert_close(logits[row, column], expected)


def test_match_pixels_without_queries():
    none = torch.zeros(0, dtype=torch.int64)
    assert match_pixels(torch.zeros(0, 6), torch.randn(2, 6, 4, 5), none).shape == (0, 4, 5)


def test_gather_pixels_reads_the_own_image():
    pixels = torch.randn(3, 6, 4, 5)
    index = torch.randint(20, (5, 7))
    gathered = gather_pixels(pixels, index, IMAGE_INDEX)
    for own, image, features in zip(index, IMAGE_INDEX, gathered, strict=True):
        for position, feature in zip(own.tolist(), features, strict=True):
            assert torch.equal(feature, pixels[image, :, position // 5, position % 5])


def test_smooth_logits_is_up_and_down():
    for shape in ((2, 6, 9), (1, 1, 4), (3, 1, 1)):
        logits = torch.randn(shape, dtype=torch.float64)
        up = F.interpolate(logits[None], scale_factor=2, mode='bilinear')
        down = F.interpolate(up, scale_factor=0.5, mode='bilinear')
        torch.testing.assert_close(smooth_logits(logits), down[0])
