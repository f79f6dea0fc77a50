"""The preparation of images and expressions agrees with PBREC's official code."""

import json
import random

import numpy as np
import pytest
import torch
from data_factory import python2_pickle
from mmengine.dataset import Compose
from parity_data import ParityData

from mmground.datasets import RefCocoDataset
from mmground.datasets.transforms import swap_left_right
from mmground.models.data_preprocessors import GroundingDataPreprocessor
from mmground.structures import Geometry

PARITY = ParityData('pbrec')
CASES = json.loads((PARITY.root / 'preprocess.json').read_text())
ARRAYS = PARITY.arrays('preprocess')
SIZE = 640
# As there, in single precision.
CLOSE = dict(rtol=0, atol=1e-6)


def pack(case, flip=False):
    """A black image of the case's size and its expression, as the pipeline leaves them."""
    width, height = case['image_size_wh']
    pipeline = Compose(
        [
            dict(type='Letterbox', size=SIZE),
            dict(type='RandomFlipWithText', prob=float(flip), rule='substrings'),
            dict(type='PackGroundingInputs'),
        ]
    )
    text = case['phrase_lower']
    return pipeline(
        dict(
            img=np.zeros((height, width, 3), np.uint8),
            img_path='a.jpg',
            img_id='1',
            sample_id='1',
            text=text,
            phrases=[dict(text=text, span=(0, len(text)), type='', phrase_id='0')],
            ori_shape=(height, width),
            img_shape=(height, width),
        )
    )


def to_cxcywh(box):
    x1, y1, x2, y2 = box.unbind(-1)
    return torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), -1)


@pytest.fixture(params=range(len(CASES)), ids=lambda i: f'case{i}')
def index(request):
    return request.param


@pytest.fixture
def regions(index, tmp_path):
    """The case's region in the record of the data set, with official=True and without."""
    case = CASES[index]
    width, height = case['image_size_wh']
    (tmp_path / 'refcoco').mkdir()
    instances = dict(
        images=[dict(id=1, file_name='a.jpg', height=height, width=width)],
        annotations=[
            dict(
                id=1,
                image_id=1,
                category_id=1,
                bbox=case['bbox_xywh'],
                segmentation=[case['polygon'], [0, 0, 9, 0, 9, 9]],
            )
        ],
        categories=[dict(id=1, name='thing')],
    )
    (tmp_path / 'refcoco/instances.json').write_text(json.dumps(instances))
    sentences = [dict(sent_id=1, sent=case['phrase_lower'], raw=case['phrase'])]
    ref = dict(ref_id=1, ann_id=1, image_id=1, split='val', sentences=sentences)
    (tmp_path / 'refcoco/refs(unc).p').write_bytes(python2_pickle([ref]))
    return [
        RefCocoDataset(
            name='refcoco', split='val', data_root=str(tmp_path), official=official
        ).get_data_info(0)['regions'][0]
        for official in (True, False)
    ]


def test_official_annotations(index, regions):
    official, whole = regions
    assert list(official['bbox']) == ARRAYS['box_int_xyxy'][index].tolist()
    assert official['mask'] == [CASES[index]['polygon']]
    assert len(whole['mask']) == 2
    x, y, width, height = CASES[index]['bbox_xywh']
    assert whole['bbox'] == (x, y, x + width, y + height)


@pytest.mark.parametrize('flip', [False, True])
def test_boxes(index, regions, flip):
    geometry = pack(CASES[index], flip)['data_samples'].geometry
    prefix = 'flip_' if flip else ''
    box = torch.tensor(regions[0]['bbox'])
    resized = Geometry(
        geometry.ori_shape, geometry.img_shape, flip=flip, ratio=geometry.ratio
    ).boxes(box)
    expected = torch.from_numpy(ARRAYS[f'{prefix}resized_box_xyxy'][index])
    # Of lengths up to 640.
    torch.testing.assert_close(resized / SIZE, expected / SIZE, **CLOSE)
    canvas = geometry.boxes(box)
    expected = torch.from_numpy(ARRAYS[f'{prefix}box_cxcywh'][index])
    torch.testing.assert_close(to_cxcywh(canvas) / SIZE, expected, **CLOSE)
    torch.testing.assert_close(geometry.inverse_boxes(canvas) / SIZE, box / SIZE, **CLOSE)


@pytest.mark.parametrize('flip', [False, True])
def test_polygons(index, flip):
    geometry = pack(CASES[index], flip)['data_samples'].geometry
    points = torch.tensor(CASES[index]['polygon']).reshape(-1, 2)
    name = 'flip_canvas_polygon' if flip else 'canvas_polygon'
    expected = torch.tensor(CASES[index][name]).reshape(-1, 2)
    torch.testing.assert_close(geometry.points(points) / SIZE, expected / SIZE, **CLOSE)
    torch.testing.assert_close(
        geometry.inverse_points(expected) / SIZE, points / SIZE, rtol=0, atol=2e-6
    )


def test_valid_rectangle_and_grid(index):
    packed = pack(CASES[index])
    geometry = packed['data_samples'].geometry
    top, left, height, width = ARRAYS['rect'][index].tolist()
    assert (*geometry.offset, *geometry.img_shape) == (top, left, height, width)
    assert packed['inputs'].shape == (3, height, width)
    assert geometry.canvas_shape == (SIZE, SIZE)
    # The official grid takes the pixel at the upper left of each cell of the canvas' mask.
    preprocessor = GroundingDataPreprocessor(mean=[1.0] * 3, std=[1.0] * 3)
    batch = preprocessor(dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]))
    padding = batch['inputs'][0, 0] == 0  # the black image is not 0 after normalisation
    assert padding.shape == (SIZE, SIZE)
    expected = torch.from_numpy(ARRAYS['grid_pad'][index])
    assert torch.equal(padding[:: SIZE // 20, :: SIZE // 20], expected)


def test_flipped_phrases(index):
    case = CASES[index]
    packed = pack(case, flip=True)['data_samples']
    assert packed.text == packed.phrases[0]['text'] == case['flip_phrase_official']
    assert swap_left_right(case['phrase_lower'])[0] == case['flip_phrase_mirror']
    # Capitals stay.
    assert swap_left_right(case['phrase'])[0].lower() == case['flip_phrase_mirror']


def test_multi_scale_sizes_are_the_official_ones():
    sides = range(448, 641, 32)
    transform = Compose([dict(type='Letterbox', size=SIZE, long_sides=sides, placement='random')])
    random.seed(0)
    seen = {transform(dict(img=np.zeros((16, 32, 3), np.uint8)))['img_shape'] for _ in range(200)}
    assert seen == {(side // 2, side) for side in (640, 608, 576, 544, 512, 480, 448)}
