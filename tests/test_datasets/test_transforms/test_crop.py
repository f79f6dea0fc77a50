import numpy as np
import pytest
import torch

from mmground.datasets.transforms import Letterbox, PackGroundingInputs, RandomReferringCrop

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
