import pytest
from referring_factory import referring_sample

from mmground.structures import image_geometries


def test_one_for_each_image():
    samples = [referring_sample(shape=shape) for shape in ((24, 32), (40, 20), (24, 32))]
    for sample, index in zip(samples, (1, 0, 1), strict=True):
        sample.set_metainfo(dict(image_index=index))
    geometries = image_geometries(2, samples)
    assert [own.ori_shape for own in geometries] == [(40, 20), (24, 32)]
    with pytest.raises(ValueError, match='place 2 of 3 images'):
        image_geometries(3, samples)
