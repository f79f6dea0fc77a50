import numpy as np
import torch
from mmengine.structures import BaseDataElement

from mmground.apis import coco_panoptic
from mmground.structures import GroundingDataSample, parse_markup
from mmground.visualization.palette import phrase_color


def sample_of(text, segment_map, segments, img_path='folder/photo.jpg'):
    plain, phrases = parse_markup(text)
    sample = GroundingDataSample(
        metainfo=dict(
            sample_id='photo_1',
            img_id='photo',
            img_path=img_path,
            text=plain,
            phrases=phrases,
            ori_shape=tuple(segment_map.shape),
        )
    )
    sample.pred_panoptic = BaseDataElement(
        metainfo=dict(segments=segments), segment_map=segment_map
    )
    return sample


def segment(number, phrases, area=2, bbox=(0, 0, 2, 1)):
    return dict(id=number, phrases=phrases, area=area, bbox=list(bbox), score=0.75)


def test_png_and_json():
    segment_map = torch.tensor([[1, 1, 0], [2, 2, 2]], dtype=torch.int32)
    segments = [segment(1, [0, 2]), segment(2, [3], 3, (0, 1, 3, 2))]
    sample = sample_of('[a dog] sees [a cat], [it] runs on [grass]', segment_map, segments)
    rgb, content = coco_panoptic(sample)
    # The colours of the pictures.
    assert rgb.dtype == np.uint8
    assert rgb[0].tolist() == [list(phrase_color(0))] * 2 + [[0, 0, 0]]
    assert rgb[1].tolist() == [list(phrase_color(3))] * 3
    assert content['images'] == [dict(id='photo', file_name='photo.jpg', height=2, width=3)]
    assert [category['id'] for category in content['categories']] == [1]
    (annotation,) = content['annotations']
    assert annotation['image_id'] == 'photo' and annotation['file_name'] == 'photo_1.png'
    dog, grass = annotation['segments_info']
    assert [phrase['text'] for phrase in dog['phrases']] == ['a dog', 'it']
    assert [phrase['span'] for phrase in dog['phrases']] == [[0, 5], [18, 20]]
    assert (grass['bbox'], grass['area'], grass['iscrowd']) == ([0, 1, 3, 1], 3, 0)
    assert dog['category_id'] == grass['category_id'] == 1
    assert rgb[1, 0].astype(int) @ [1, 256, 65536] == grass['id']
    assert [phrase['index'] for phrase in annotation['phrases_without_segment']] == [1]


def test_ids_stay_distinct_where_colours_repeat():
    count = 45
    segment_map = torch.arange(1, count + 1, dtype=torch.int32)[None]
    segments = [segment(i + 1, [i], 1) for i in range(count)]
    sample = sample_of(' '.join(['[a]'] * count), segment_map, segments, img_path=None)
    rgb, content = coco_panoptic(sample)
    ids = rgb.astype(np.int64) @ [1, 256, 65536]
    infos = content['annotations'][0]['segments_info']
    assert ids[0].tolist() == [info['id'] for info in infos]
    assert len(set(ids[0].tolist())) == count and 0 not in ids
    assert content['images'][0]['file_name'] is None


def test_no_segment():
    rgb, content = coco_panoptic(sample_of('[a]', torch.zeros(2, 3, dtype=torch.int32), []))
    assert (rgb == 0).all()
    assert content['annotations'][0]['segments_info'] == []
    assert len(content['annotations'][0]['phrases_without_segment']) == 1
