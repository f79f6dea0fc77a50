import random

import numpy as np
import pytest
import torch
from PIL import Image

from mmground.datasets.transforms import Letterbox, PackGroundingInputs
from mmground.registry import TRANSFORMS
from mmground.structures import Geometry


def pixels(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def results(height, width, **changes):
    return dict(
        img=pixels(height, width),
        img_path='a.jpg',
        img_id='7',
        sample_id='7_0',
        text='a dog',
        phrases=[dict(text='a dog', span=(0, 5), type='', phrase_id='0')],
        ori_shape=(height, width),
        img_shape=(height, width),
        **changes,
    )


@pytest.mark.parametrize(
    ('shape', 'expected', 'offset'),
    [
        # Halves go to the even number: 100 * 0.5 / ... by hand.
        ((480, 640), (48, 64), (8, 0)),
        ((640, 427), (64, 43), (0, 10)),  # 42.7, 21 pixels are left: 10 and 11
        ((5, 128), (2, 64), (31, 0)),  # 2.5 -> 2
        ((7, 128), (4, 64), (30, 0)),  # 3.5 -> 4
        ((1, 500), (1, 64), (31, 0)),  # 0.128 -> at least 1
        ((10, 10), (64, 64), (0, 0)),
    ],
)
def test_size_and_place_in_the_centre(shape, expected, offset):
    found = Letterbox(64)(results(*shape))
    assert (found['img_shape'], found['offset']) == (expected, offset)
    assert found['canvas_shape'] == (64, 64)
    assert found['ratio'] == 64 / max(shape)
    resized = Image.fromarray(pixels(*shape)).resize(expected[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found['img'], np.asarray(resized))


def test_bicubic_pixels():
    found = Letterbox(64, interpolation='bicubic')(results(480, 640))
    resized = Image.fromarray(pixels(480, 640)).resize((64, 48), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found['img'], np.asarray(resized))


def test_random_sizes_and_places_cover_the_canvas():
    transform = TRANSFORMS.build(
        dict(type='Letterbox', size=16, long_sides=[12, 16], placement='random')
    )
    seen = set()
    random.seed(0)
    for _ in range(400):
        found = transform(results(20, 40))
        seen.add((found['img_shape'], found['offset']))
    small = {((6, 12), (top, left)) for top in range(11) for left in range(5)}
    large = {((8, 16), (top, 0)) for top in range(9)}
    assert seen == small | large


def test_arguments():
    for sides in ([65], [], [0]):
        with pytest.raises(ValueError, match='long_sides must be lengths up to the canvas of 64'):
            Letterbox(64, long_sides=sides)
    with pytest.raises(ValueError, match='placement must be one of'):
        Letterbox(64, placement='left')
    with pytest.raises(ValueError, match=r"interpolation must be one of .*'nearest'"):
        Letterbox(64, interpolation='nearest')


def test_the_packed_geometry_inverts():
    sample = PackGroundingInputs()(Letterbox(64)(results(333, 500)))['data_samples']
    geometry = sample.geometry
    assert geometry == Geometry(
        (333, 500), (43, 64), offset=(10, 0), canvas_shape=(64, 64), ratio=64 / 500
    )
    boxes = torch.tensor([[12.0, 30, 450, 320.5]], dtype=torch.float64)
    canvas = geometry.boxes(boxes)
    expected = boxes * 0.128 + torch.tensor([0, 10, 0, 10])
    torch.testing.assert_close(canvas, expected)
    torch.testing.assert_close(geometry.inverse_boxes(canvas), boxes)


@pytest.mark.parametrize(
    'shape', [(427, 640), (641, 333), (101, 99), (640, 31), (7, 11), (3, 2), (1, 1)]
)
def test_masks_there_and_back(shape):
    """Odd, portrait, thin and tiny images: an ellipse returns to where it was."""
    sample = PackGroundingInputs()(Letterbox(416)(results(*shape)))['data_samples']
    height, width = shape
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
    mask = ((y / height - 0.5) / 0.4) ** 2 + ((x / width - 0.45) / 0.4) ** 2 <= 1
    canvas = sample.geometry.masks(mask[None])
    assert canvas.shape == (1, 416, 416)
    rows, columns = sample.geometry.image_area
    assert (canvas > 0).sum() == (canvas[:, rows, columns] > 0).sum() > 0
    back = sample.geometry.inverse_masks(canvas)[0] > 0.5
    assert (back & mask).sum() / (back | mask).sum() >= 0.97
