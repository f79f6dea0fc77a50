from dataclasses import replace

import torch
from small_ppmn import batch, sample

from mmground.models.data_preprocessors import GroundingDataPreprocessor


def _preprocessor(**kwargs):
    return GroundingDataPreprocessor(
        mean=[1.0, 2.0, 3.0], std=[2.0, 2.0, 2.0], pad_size_divisor=32, **kwargs
    )


def test_an_image_with_several_texts_takes_one_row():
    pairs = [
        sample('[a star]', path='a.jpg'),
        sample('[a ring]', path='b.jpg', img_shape=(20, 70)),
        sample('[the grass]', path='a.jpg'),
    ]
    data = _preprocessor()(batch(*pairs))
    assert data['inputs'].shape == (2, 3, 64, 96)
    assert [own.image_index for own in data['data_samples']] == [0, 1, 0]
    assert all(own.geometry.canvas_shape == (64, 96) for own in data['data_samples'])
    image = pairs[0][0].float()
    expected = (image - torch.tensor([1.0, 2.0, 3.0])[:, None, None]) / 2
    torch.testing.assert_close(data['inputs'][0, :, :40, :60], expected)
    assert (data['inputs'][0, :, 40:] == 0).all()
    assert (data['inputs'][0, :, :, 60:] == 0).all()


def test_images_are_not_shared_across_geometries_or_arrays():
    twice = batch(sample('[a star]'), sample('[a star]', img_shape=(20, 30)))
    assert len(_preprocessor()(twice)['inputs']) == 2
    arrays = batch(sample('[a star]', path=None), sample('[a star]', path=None))
    assert len(_preprocessor()(arrays)['inputs']) == 2
    arrays = batch(*(sample(text, path=None) for text in ('[a star]', '[a ring]', '[two]')))
    for own, img_id in zip(arrays['data_samples'], '001', strict=True):
        own.set_metainfo(dict(img_id=img_id))
    assert len(_preprocessor()(arrays)['inputs']) == 2, 'an array is known by its img_id'


def test_images_of_other_pixels_are_not_shared():
    """Such as those whose colours were changed at random."""
    pairs = [sample(text) for text in ('[a star]', '[a ring]', '[two]', '[the grass]')]
    for image, _ in pairs[1::2]:
        image //= 2
    data = _preprocessor()(batch(*pairs))
    assert [own.image_index for own in data['data_samples']] == [0, 1, 0, 1]
    for row, (image, _) in enumerate(pairs[:2]):
        expected = (image.float() - torch.tensor([1.0, 2.0, 3.0])[:, None, None]) / 2
        torch.testing.assert_close(data['inputs'][row, :, :40, :60], expected)


def _placed(text, path, img_shape, offset, canvas_shape=(64, 64)):
    image, own = sample(text, path=path, img_shape=img_shape)
    geometry = replace(own.geometry, offset=offset, canvas_shape=canvas_shape)
    own.set_metainfo(dict(geometry=geometry))
    return image, own


def test_images_are_placed_on_their_canvas_after_normalisation():
    pairs = [
        _placed('[a star]', 'a.jpg', (40, 60), (12, 2)),
        _placed('[a ring]', 'b.jpg', (64, 30), (0, 34)),
        _placed('[the grass]', 'a.jpg', (40, 60), (12, 2)),
        # The same image at another place is another row.
        _placed('[two]', 'a.jpg', (40, 60), (13, 2)),
    ]
    data = _preprocessor()(batch(*pairs))
    assert data['inputs'].shape == (3, 3, 64, 64)
    samples = data['data_samples']
    assert [own.image_index for own in samples] == [0, 1, 0, 2]
    for (image, _), own in zip(pairs, samples, strict=True):
        expected = torch.zeros(3, 64, 64)
        rows, columns = own.geometry.image_area
        expected[:, rows, columns] = (image - torch.tensor([1.0, 2.0, 3.0])[:, None, None]) / 2
        torch.testing.assert_close(data['inputs'][own.image_index], expected)
        assert own.geometry.canvas_shape == (64, 64)


def test_the_canvas_is_rounded_up_and_holds_images_without_one():
    pairs = [
        _placed('[a star]', 'a.jpg', (40, 60), (5, 0), (50, 60)),
        sample('[a ring]', path='b.jpg', img_shape=(20, 70)),
    ]
    data = _preprocessor()(batch(*pairs))
    assert data['inputs'].shape == (2, 3, 64, 96)
    assert (data['inputs'][0, :, :5] == 0).all()
    assert (data['inputs'][0, :, 5:45, :60] != 0).any(0).all()


def test_the_raw_canvas_is_what_was_packed():
    settings = (
        dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
        dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0]),
        {},
    )
    pairs = [sample('[a star]', path='a.jpg'), sample('[a ring]', path='b.jpg')]
    for own in settings:
        preprocessor = GroundingDataPreprocessor(pad_size_divisor=32, **own)
        canvas = preprocessor.raw_canvas(preprocessor(batch(*pairs))['inputs'])
        assert canvas.shape == (2, 3, 64, 64)
        for row, (image, _) in zip(canvas, pairs, strict=True):
            assert torch.equal(row[:, :40, :60], image.float())
