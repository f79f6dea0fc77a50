from dataclasses import replace

import pytest
import torch
from small_detectors import canvases, randomise, small_fcos

from mmground.models.cache_keys import image_key
from mmground.models.localisers import BoxCache
from mmground.registry import MODELS


def _localiser(seed=0, **settings):
    torch.manual_seed(0)
    cfg = dict(type='FCOSLocaliser', detector=small_fcos(), **settings)
    return randomise(MODELS.build(cfg), seed)


def _write(path, count=2):
    """Cache the first images of the canvases with a localiser."""
    localiser = _localiser()
    images, geometries = canvases()
    cache = BoxCache(localiser.fingerprint)
    keys = [image_key(image, own) for image, own in zip(images, geometries, strict=True)]
    cache.add(keys[:count], localiser(images[:count], geometries[:count]))
    cache.save(str(path))
    return localiser


@pytest.mark.parametrize('count', [1, 2])
def test_cached_boxes_are_those_of_the_detector(tmp_path, count):
    path = tmp_path / 'new' / 'boxes.pth'
    images, geometries = canvases()
    expected = _write(path, count)(images, geometries)
    localiser = _localiser(cache=str(path))
    seen = []
    localiser.detector.backbone.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    found = localiser(images, geometries)
    assert seen == ([] if count == 2 else [1])
    assert found.grid == expected.grid
    assert torch.equal(found.points, expected.points)
    torch.testing.assert_close(found.boxes, expected.boxes, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.centerness, expected.centerness, atol=1e-5, rtol=0)
    # The order of a batch does not matter.
    turned = localiser(images.flip(0), geometries[::-1])
    torch.testing.assert_close(turned.boxes, expected.boxes.flip(0), atol=1e-4, rtol=0)


def test_an_image_is_known_by_its_pixels_and_place():
    images, geometries = canvases()
    image, geometry = images[0], geometries[0]
    key = image_key(image, geometry)
    painted = image.clone()
    painted[:, :32] = 9  # padding
    assert image_key(painted, geometry) == key
    # Where it was taken from and whether it was mirrored does not matter, the pixels tell.
    assert image_key(image, replace(geometry, ori_shape=(48, 96), flip=True)) == key
    changed = image.clone()
    changed[1, 40, 7] = (image[1, 40, 7] + 1) % 256
    moved = replace(geometry, offset=(31, 0))
    larger = replace(geometry, canvas_shape=(160, 160))
    others = [
        image_key(changed, geometry),
        image_key(image, moved),
        image_key(image, larger),
        image_key(images[1], geometries[1]),
    ]
    assert len({key, *others}) == 5


def test_stale_files_are_refused(tmp_path):
    path = tmp_path / 'boxes.pth'
    _write(path)
    images, geometries = canvases()
    stale = r'boxes\.pth are of a detector with other weights or settings; write it anew with tools'
    with pytest.raises(ValueError, match=stale):
        _localiser(seed=1, cache=str(path))(images, geometries)
    with pytest.raises(ValueError, match=stale):
        _localiser(cache=str(path), level=1)(images, geometries)
    # Weights that are loaded later.
    localiser = _localiser(cache=str(path))
    localiser(images, geometries)
    localiser.load_state_dict(_localiser(seed=1).state_dict())
    with pytest.raises(ValueError, match=stale):
        localiser(images, geometries)


def test_files_that_are_no_cache(tmp_path):
    path = tmp_path / 'boxes.pth'
    images, geometries = canvases()
    with pytest.raises(FileNotFoundError, match='do not exist; write it anew'):
        _localiser(cache=str(path))(images, geometries)
    for content in ([1], dict(keys=[])):
        torch.save(content, path)
        with pytest.raises(ValueError, match='holds no cached proposals'):
            _localiser(cache=str(path))(images, geometries)
    path.write_bytes(b'<html>')
    with pytest.raises(ValueError, match=r'cannot be read|is damaged'):
        _localiser(cache=str(path))(images, geometries)
