import copy
import json

import numpy as np
import pytest
from data_factory import write_json_dataset

from mmground.datasets import GroundingJsonDataset
from mmground.datasets.transforms import LoadGroundingMasks
from mmground.structures import phrase_masks

PIPELINE = [
    dict(type='LoadGroundingImage'),
    dict(type='Resize', scale=(64, 64), keep_ratio=True, backend='pillow'),
    dict(type='LoadGroundingMasks'),
    dict(type='PackGroundingInputs'),
]


@pytest.fixture
def files(tmp_path):
    return write_json_dataset(tmp_path)


def test_records(files):
    dataset = GroundingJsonDataset(**files)
    root = files['data_root']
    assert len(dataset) == 2
    record = dataset[0]
    assert record['img_path'] == f'{root}/images/park.png'
    assert (record['img_id'], record['sample_id']) == ('park.png', '0')
    assert record['text'] == 'A man throws a red frisbee to two dogs on grass, a man.'
    assert record['phrases'] == [
        dict(text='A man', span=(0, 5), type='thing', phrase_id='0'),
        dict(text='a red frisbee', span=(13, 26), type='thing', phrase_id='1'),
        dict(text='two dogs', span=(30, 38), type='thing', phrase_id='2'),
        dict(text='grass', span=(42, 47), type='stuff', phrase_id='3'),
        dict(text='a man', span=(49, 54), type='thing', phrase_id='4'),
    ]
    assert record['links'] == [(0, 0), (1, 1), (2, 2), (2, 3), (3, 4), (4, 0)]
    assert [region.get('category_id') for region in record['regions']] == [1, 2, 3, 3, 4]
    assert record['regions'][2]['mask'] == f'{root}/masks/dog.png'
    assert 'height' not in record
    other = dataset[1]
    assert (other['sample_id'], other['img_id']) == ('blue', '7')
    assert (other['height'], other['width']) == (20, 30)
    assert dataset.metainfo['categories'] == [
        dict(id=i, name=name) for i, name in enumerate(('person', 'frisbee', 'dog', 'grass'), 1)
    ]


def test_samples(files):
    """Every kind of mask is what was drawn; a region without a box gets that of its mask."""
    dataset = GroundingJsonDataset(**files, pipeline=PIPELINE, test_mode=True)
    sample = dataset[0]['data_samples']
    expected = np.zeros((5, 24, 32), bool)
    for mask, (x1, y1, x2, y2) in zip(
        expected,
        [(1, 2, 6, 20), (8, 3, 11, 5), (20, 10, 26, 16), (27, 10, 31, 16), (0, 20, 32, 24)],
        strict=True,
    ):
        mask[y1:y2, x1:x2] = True
    np.testing.assert_array_equal(sample.gt_regions.masks.numpy(), expected)
    assert sample.gt_regions.bboxes.tolist() == [
        [1, 2, 6, 20], [8, 3, 11, 5], [20, 10, 26, 16], [26.5, 10, 31, 16], [0, 20, 32, 24]
    ]  # fmt: skip
    assert sample.gt_regions.is_thing.tolist() == [True, True, True, True, False]
    assert sample.gt_regions.category_ids.tolist() == [1, 2, 3, 3, 4]
    united = phrase_masks(sample.gt_regions.masks, sample.links, 5)
    np.testing.assert_array_equal(united[2].numpy(), expected[2] | expected[3])


def test_boxes_alone(files):
    """The second entry has boxes only: a pipeline for boxes has no LoadGroundingMasks."""
    boxes = [step for step in PIPELINE if step['type'] != 'LoadGroundingMasks']
    dataset = GroundingJsonDataset(**files, pipeline=boxes, filter_cfg=dict(sample_ids=['blue']))
    sample = dataset[0]['data_samples']
    assert sample.gt_regions.bboxes.tolist() == [[1.5, 2, 9, 12]]
    assert 'masks' not in sample.gt_regions
    with pytest.raises(ValueError, match=r"region\(s\) \[0\] of sample 'blue' have nothing to"):
        LoadGroundingMasks()({**dataset.get_data_info(0), 'ori_shape': (20, 30)})


def test_categories_of_another_file(files):
    categories = [dict(id=17, name=name) for name in ('dog', 'grass', 'frisbee', 'person')]
    dataset = GroundingJsonDataset(**files, metainfo=dict(categories=categories))
    assert {region['category_id'] for region in dataset[0]['regions']} == {17}
    assert dataset.metainfo['categories'] == categories
    with pytest.raises(ValueError, match=r"entry 0: category 'person' is not among"):
        GroundingJsonDataset(**files, metainfo=dict(categories=categories[:3]))


def put(*path):
    *keys, last, value = path

    def change(entries):
        for key in keys:
            entries = entries[key]
        if value is KeyError:
            del entries[last]
        else:
            entries[last] = value

    return change


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (put(0, 5), 'expected a list of entries'),
        (put(0, 'image', KeyError), "entry 0: the entry has no 'image'"),
        (put(0, 'image', 3), "entry 0: 'image' of the entry is of the wrong type: '3'"),
        (put(1, 'text', None), "entry 1: 'text' of the entry is of the wrong type"),
        (put(0, 'phrases', KeyError), "the entry has no 'phrases'"),
        (put(0, 'phrases', []), "sample '0': there is no phrase"),
        (put(0, 'phrases', 1, 7), "entry 0: phrase 1 must be an object, got '7'"),
        (put(0, 'phrases', 0, 'text', KeyError), 'phrase 0 has neither "text" nor "span"'),
        (put(0, 'phrases', 0, 'text', 'a cat'), "entry 0: phrase 'a cat' does not occur"),
        (put(0, 'phrases', 0, 'text', ' '), 'entry 0: a phrase to find in .* is empty'),
        (put(0, 'phrases', 1, 'span', [13]), r'"span" of phrase 1 must be \[start, end\]'),
        (put(0, 'phrases', 1, 'span', '13'), r'"span" of phrase 1 must be'),
        (put(0, 'phrases', 1, 'span', [13, 99]), r'has the span \(13, 99\), which is not'),
        (put(0, 'phrases', 1, 'text', 'a dog'), "phrase 1 is 'a dog', but its span"),
        (put(0, 'phrases', 2, 'regions', KeyError), "phrase 2 has no 'regions'"),
        (put(0, 'phrases', 2, 'regions', []), '"regions" of phrase 2 must be indices'),
        (put(0, 'phrases', 2, 'regions', ['a']), '"regions" of phrase 2 must be indices'),
        (put(0, 'phrases', 2, 'regions', [9]), r'link \(2, 9\) points outside'),
        (put(0, 'phrases', 2, 'regions', [2, 2]), 'a link .* is repeated'),
        (put(0, 'regions', {}), "'regions' of the entry is of the wrong type"),
        (put(1, 'regions', 0, 'bbox', KeyError), 'region 0 has neither "mask" nor "bbox"'),
        (put(1, 'regions', 0, 'bbox', [1, 2, 3]), r'"bbox" of region 0 must be \[x1, y1'),
        (put(1, 'regions', 0, 'bbox', [9, 2, 3, 5]), r'region 0 has the box .* empty'),
        (put(0, 'regions', 0, 'mask', 3), "'mask' of region 0 is of the wrong type"),
        (put(0, 'regions', 0, 'mask', [[1, 2]]), '"mask" of region 0: a polygon is a list'),
        (put(0, 'regions', 1, 'mask', {}), 'no "size" and "counts"'),
        (put(0, 'regions', 1, 'category', 2), "'category' of region 1 is of the wrong type"),
        (put(1, 'height', 'tall'), "entry 1: 'height' of the entry is of the wrong type"),
        (put(1, 'id', 0), "sample_id '0' occurs twice"),
    ],
)
def test_malformed_entries(files, tmp_path, change, message):
    path = tmp_path / files['ann_file']
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=message) as caught:
        GroundingJsonDataset(**files)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize('content', ['{"a": []}', '3'])
def test_other_files(files, tmp_path, content):
    (tmp_path / files['ann_file']).write_text(content)
    with pytest.raises(ValueError, match=r'grounding\.json: expected a list of entries'):
        GroundingJsonDataset(**files)


def test_damaged_and_missing_files(files, tmp_path):
    path = tmp_path / files['ann_file']
    path.write_text(path.read_text()[:-30])
    with pytest.raises(ValueError, match=r'grounding\.json: .* not valid JSON'):
        GroundingJsonDataset(**files)
    with pytest.raises(FileNotFoundError, match=r'none\.json: .* does not exist'):
        GroundingJsonDataset(**{**files, 'ann_file': 'none.json'})


@pytest.mark.parametrize(
    ('mask', 'error', 'message'),
    [
        ('none.png', FileNotFoundError, r"none\.png: the mask of region 2 of sample '0' does not"),
        ('../images/broken.png', ValueError, r'broken\.png: the mask of region 2 .* be read'),
        ('../images/blue.png', ValueError, r'is \(20, 30\) \(height, width\), but its image'),
        ('empty.png', ValueError, r'empty\.png: the mask of region 2 .* has no pixel'),
        (dict(size=[24, 32], counts=[768]), ValueError, 'the mask of region 2 .* has no pixel'),
        (dict(size=[32, 24], counts=[768]), ValueError, r'cannot be decoded .*of size \(32, 24\)'),
        (dict(size=[24, 32], counts='x'), ValueError, "region 2 of sample '0' cannot be decoded"),
        ([[90, 90, 95, 90, 95, 95]], ValueError, 'the mask of region 2 .* has no pixel'),
    ],
)
def test_bad_masks(files, tmp_path, mask, error, message):
    path = tmp_path / files['ann_file']
    entries = json.loads(path.read_text())
    entries[0]['regions'][2]['mask'] = copy.deepcopy(mask)
    path.write_text(json.dumps(entries))
    dataset = GroundingJsonDataset(**files, pipeline=PIPELINE)
    with pytest.raises(error, match=message):
        dataset[0]
