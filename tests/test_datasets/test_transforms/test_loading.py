import io
from pathlib import Path

import numpy as np
import pytest
from data_factory import PNG_IMAGES, png_segment_map, write_png_dataset
from mmcv.transforms import Resize
from PIL import Image, ImageOps

from mmground.datasets import PNGDataset
from mmground.datasets.transforms import LoadGroundingImage, LoadGroundingMasks
from mmground.registry import TRANSFORMS
from mmground.utils.setup_env import register_all_modules

RESIZE = dict(keep_ratio=True, backend='pillow', interpolation='bilinear')


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def make_image(kind):
    if kind == 'grey':
        return Image.fromarray(pixels(61, 83))
    if kind == 'rgba':
        return Image.fromarray(pixels(61, 83, 4))
    if kind == 'palette':
        return Image.fromarray(pixels(61, 83, 3)).quantize(32)
    return Image.fromarray(pixels(61, 83, 3))


@pytest.mark.parametrize(
    ('kind', 'suffix'),
    [
        ('rgb', '.jpg'),
        ('rgb', '.png'),
        ('exif', '.jpg'),
        ('grey', '.jpg'),
        ('rgba', '.png'),
        ('palette', '.png'),
    ],
)
def test_image_equals_the_published_pipeline(tmp_path, kind, suffix):
    path = str(tmp_path / f'image{suffix}')
    exif = Image.Exif()
    if kind == 'exif':
        exif[0x0112] = 6
    make_image(kind).save(path, exif=exif)

    results = LoadGroundingImage()(dict(img_path=path))
    upright = ImageOps.exif_transpose(Image.open(path)).convert('RGB')
    bgr = np.asarray(upright)[:, :, ::-1]
    assert results['ori_shape'] == results['img_shape'] == bgr.shape[:2]
    assert bgr.shape[:2] == ((83, 61) if kind == 'exif' else (61, 83))
    np.testing.assert_array_equal(results['img'], bgr)
    assert results['img'].flags.c_contiguous  # or every later step would copy it slowly

    results = Resize(scale=(1333, 800), **RESIZE)(results)
    scale = 800 / 61
    size = (int(scale * bgr.shape[1] + 0.5), int(scale * bgr.shape[0] + 0.5))
    expected = np.asarray(
        Image.fromarray(np.ascontiguousarray(bgr)).resize(size, Image.Resampling.BILINEAR)
    )
    assert results['img_shape'] == size[::-1]
    np.testing.assert_array_equal(results['img'], expected)
    assert results['ori_shape'] == bgr.shape[:2]


@pytest.mark.parametrize(
    ('shape', 'expected'), [((480, 640), (800, 1067)), ((640, 427), (1199, 800))]
)
@pytest.mark.parametrize('kind', ['Resize', 'mmdet.ResizeShortestEdge'])
def test_resized_shapes(shape, expected, kind):
    assert resized_shape(kind, shape) == expected


def resized_shape(kind, shape):
    register_all_modules()
    arguments = (
        dict(scale=(1333, 800), **RESIZE)
        if kind == 'Resize'
        else dict(scale=800, max_size=1333, backend='pillow', interpolation='bilinear')
    )
    transform = TRANSFORMS.build(dict(type=kind, **arguments))
    return transform(dict(img=np.zeros((*shape, 3), np.uint8)))['img_shape']


def test_long_images_need_the_two_step_rounding():
    # The published systems round once the shortest edge, then the longest: for an image
    # of exactly 1:2 that may give one pixel less than a single factor.
    assert resized_shape('Resize', (319, 638)) == (667, 1333)
    assert resized_shape('mmdet.ResizeShortestEdge', (319, 638)) == (666, 1333)


def test_image_errors(tmp_path):
    load = LoadGroundingImage()
    missing = dict(img_path=str(tmp_path / 'none.jpg'), sample_id='7_0')
    with pytest.raises(FileNotFoundError, match=r"none\.jpg: the image of sample '7_0' does not"):
        load(missing)
    content = io.BytesIO()
    make_image('rgb').save(content, format='jpeg')
    broken = tmp_path / 'broken.jpg'
    whole = content.getvalue()
    for data in (whole[:600], whole[:-200], b'no image', b''):
        broken.write_bytes(data)
        with pytest.raises(ValueError, match=r"broken\.jpg: the image of sample '7_0' cannot"):
            load(dict(img_path=str(broken), sample_id='7_0'))
    with pytest.raises(ValueError, match=r'broken\.jpg: the image of the sample cannot'):
        load(dict(img_path=str(broken)))


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGBA', 'CMYK', 'YCbCr'])
def test_every_kind_of_image_becomes_three_channels(tmp_path, mode):
    path = tmp_path / ('image.jpg' if mode in ('CMYK', 'YCbCr') else 'image.png')
    make_image('rgb').convert(mode).save(path)
    image = LoadGroundingImage()(dict(img_path=str(path)))['img']
    assert (image.dtype, image.shape) == (np.uint8, (61, 83, 3))


def test_image_of_another_size(tmp_path):
    path = str(tmp_path / 'image.png')
    make_image('rgb').save(path)
    load = LoadGroundingImage()
    assert load(dict(img_path=path, height=61, width=83))['img'].shape == (61, 83, 3)
    with pytest.raises(ValueError, match=r'image\.png: the image is \(61, 83\).*\(83, 61\)'):
        load(dict(img_path=path, height=83, width=61, sample_id='7_0'))


@pytest.fixture
def dataset(tmp_path):
    return PNGDataset(**write_png_dataset(tmp_path))


def test_masks(dataset):
    transform = LoadGroundingMasks()
    seen = set()
    for i in range(len(dataset)):
        record = dataset[i]
        results = transform({**record, 'ori_shape': (record['height'], record['width'])})
        masks = results['gt_region_masks']
        segment_map = png_segment_map(int(record['img_id']))
        assert masks.dtype == bool
        assert masks.shape == (len(record['regions']), *segment_map.shape)
        for mask, region in zip(masks, record['regions'], strict=True):
            seen.add(region['segment_id'])
            for y, row in enumerate(segment_map.tolist()):
                for x, segment_id in enumerate(row):
                    assert mask[y, x] == (segment_id == region['segment_id'])
    assert seen == {s for image in PNG_IMAGES.values() for s in image['segments']}


def test_masks_are_not_resized_with_the_image(dataset):
    record = dataset[0]
    results = LoadGroundingImage()(record)
    results = Resize(scale=(133, 80), **RESIZE)(results)
    results = LoadGroundingMasks()(results)
    assert results['img_shape'] == (80, 107)
    assert results['gt_region_masks'].shape[1:] == (24, 32)


def test_no_regions(dataset):
    results = LoadGroundingMasks()({**dataset[0], 'regions': [], 'ori_shape': (24, 32)})
    assert results['gt_region_masks'].shape == (0, 24, 32)


def test_mask_errors(dataset):
    record = {**dataset[0], 'ori_shape': (24, 32)}
    transform = LoadGroundingMasks()
    region = dict(segment_id=2**40)
    with pytest.raises(
        ValueError, match=rf"139\.png: sample '139_0' refers to segment\(s\) \[{2**40}\]"
    ):
        transform({**record, 'regions': [*record['regions'], region]})
    with pytest.raises(ValueError, match=r"139\.png: the panoptic PNG of sample '139_0' is"):
        transform({**record, 'ori_shape': (32, 24)})

    path = Path(record['seg_map_path'])
    whole = path.read_bytes()
    for kind in ('grey', 'palette', 'rgba'):
        make_image(kind).save(path)
        with pytest.raises(ValueError, match=r"139\.png: .* three 8-bit channels.*'139_0'"):
            transform(record)
    for data in (whole[: len(whole) // 2], b'', b'no image'):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"139\.png: .*sample '139_0' cannot be read"):
            transform(record)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"139\.png: .*sample '139_0' does not exist"):
        transform(record)


def test_file_backend(dataset):
    # The local backend, named explicitly.
    arguments = dict(backend_args=dict(backend='local'))
    results = LoadGroundingMasks(**arguments)(LoadGroundingImage(**arguments)(dataset[0]))
    assert results['gt_region_masks'].shape == (4, 24, 32)
    with pytest.raises(Exception, match='nowhere'):
        LoadGroundingMasks(backend_args=dict(backend='nowhere'))({**dataset[0], 'ori_shape': ()})


@pytest.mark.parametrize('name', ['deep.png', 'deep.tif'])
def test_more_than_8_bits_are_refused_and_not_clipped(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(np.full((4, 6), 40000, np.uint16)).save(path)
    with pytest.raises(ValueError, match=r'deep.*more than 8 bits per pixel: convert it'):
        LoadGroundingImage().transform(dict(img_path=str(path), sample_id='1'))
    Image.fromarray(np.full((4, 6), 200, np.uint8)).save(path)
    assert LoadGroundingImage().transform(dict(img_path=str(path)))['img'].max() == 200
