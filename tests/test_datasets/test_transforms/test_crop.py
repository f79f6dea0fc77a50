import numpy as np
import pytest
import torch

from mmground.datasets.transforms import (
    CropAroundReferred,
    Letterbox,
    PackGroundingInputs,
    RandomReferringCrop,
)

SIZES = dict(short_sides=(40, 50, 60), min_size=38, max_size=60)


def record(text='a dog', bbox=(10, 20, 30, 60), shape=(80, 120)):
    img = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    return dict(
        img=img,
        img_path='a.jpg',
        img_id='7',
        sample_id='7_0',
        text=text,
        phrases=[dict(text=text, span=(0, len(text)), type='', phrase_id='0')],
        regions=[dict(bbox=bbox)],
        links=[(0, 0)],
        ori_shape=shape,
        img_shape=shape,
    )


def test_crops_show_the_centre_of_the_object():
    transform = RandomReferringCrop(prob=1.0, **SIZES)
    sizes = set()
    for _ in range(300):
        given = record()
        found = transform(record())
        if 'crop' not in found:
            continue
        top, left, height, width = found['crop']
        assert 0 <= top <= 80 - height
        assert 0 <= left <= 120 - width
        assert top <= 40 < top + height
        assert left <= 20 < left + width
        np.testing.assert_array_equal(
            found['img'], given['img'][top : top + height, left : left + width]
        )
        assert found['img_shape'] == (height, width)
        assert found['ori_shape'] == (80, 120)
        # At the three ratios, 38 pixels and more.
        assert height >= round(38 / 60 * 80)
        sizes.add((height, width))
    assert len(sizes) > 50


@pytest.mark.parametrize(
    ('text', 'kept'),
    [
        ('dog on the left', True),
        ('Rightmost dog', True),
        ('top of it', True),
        ('the upper one', True),
        ('the dog in the center', True),
        ('a bright stop sign', False),
        ('laptop', False),
    ],
)
def test_words_of_position_keep_the_image_whole(text, kept):
    transform = RandomReferringCrop(prob=1.0, **SIZES)
    cropped = ['crop' in transform(record(text)) for _ in range(20)]
    assert any(cropped) != kept


def test_objects_without_a_common_part_keep_the_image_whole():
    results = record(shape=(80, 400))
    results['regions'] = [dict(bbox=(0, 0, 4, 4)), dict(bbox=(396, 0, 400, 4))]
    found = RandomReferringCrop(prob=1.0, **SIZES)(results)
    assert 'crop' not in found
    assert found['img_shape'] == (80, 400)


def test_no_regions_and_probability():
    results = record()
    results['regions'] = []
    assert 'crop' in RandomReferringCrop(prob=1.0, **SIZES)(results)
    assert 'crop' not in RandomReferringCrop(prob=0.0, **SIZES)(record())


def test_errors():
    with pytest.raises(ValueError, match='min_size must be at most'):
        RandomReferringCrop(short_sides=(300,))
    with pytest.raises(ValueError, match='before the image is resized'):
        RandomReferringCrop(**SIZES)(Letterbox(64)(record()))


def test_the_geometry_of_a_crop_inverts():
    transform = RandomReferringCrop(prob=1.0, **SIZES)
    found = next(f for f in (transform(record()) for _ in range(50)) if 'crop' in f)
    geometry = PackGroundingInputs()(Letterbox(64)(found))['data_samples'].geometry
    top, left, height, width = found['crop']
    ratio = 64 / max(height, width)
    assert (geometry.crop, geometry.ratio) == (found['crop'], ratio)
    point = torch.tensor([20.0, 40.0])
    expected = (point - torch.tensor([left, top])) * ratio + torch.tensor(geometry.offset[::-1])
    torch.testing.assert_close(geometry.points(point), expected)
    torch.testing.assert_close(geometry.inverse_points(expected), point)


@pytest.mark.parametrize(
    ('bbox', 'size', 'window'),
    [
        ((10, 20, 30, 60), 20, (30, 10, 20, 20)),
        # Moved into the image.
        ((0, 0, 6, 4), 20, (0, 0, 20, 20)),
        ((110, 70, 120, 80), 20, (60, 100, 20, 20)),
        # As large as the image.
        ((10, 20, 30, 60), 100, (0, 0, 80, 100)),
    ],
)
def test_windows_are_centred_on_what_is_referred_to(bbox, size, window):
    found = CropAroundReferred(size)(record(bbox=bbox))
    assert found['crop'] == window
    top, left, height, width = window
    expected = record()['img'][top : top + height, left : left + width]
    np.testing.assert_array_equal(found['img'], expected)
    assert found['img_shape'] == (height, width)


def test_a_window_is_around_all_linked_regions_and_no_other():
    given = record()
    given['regions'] = [
        dict(bbox=box) for box in ((0, 0, 9, 9), (20, 20, 30, 30), (50, 40, 60, 50))
    ]
    given['links'] = [(0, 1), (0, 2)]
    assert CropAroundReferred(10)(given)['crop'] == (30, 35, 10, 10)


def test_windows_that_cannot_be_cut():
    with pytest.raises(ValueError, match="'7_0' refers to no region"):
        CropAroundReferred(10)(record() | dict(links=[]))
    resized = Letterbox(64)(record())
    with pytest.raises(ValueError, match='CropAroundReferred must come before'):
        CropAroundReferred(10)(resized)
    with pytest.raises(ValueError, match='at least one pixel'):
        CropAroundReferred(0)
