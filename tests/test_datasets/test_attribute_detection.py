import json

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from mmground.datasets.grounding_shapes.categories import ATTRIBUTES
from mmground.datasets.grounding_shapes.generation import generate, make_shapes_image
from mmground.datasets.grounding_shapes.lexicon import THINGS
from mmground.datasets.transforms import LoadAttributes
from mmground.registry import DATASETS

NAMES = ('dotted', 'red', 'blue', 'plain')
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='LoadAttributes'),
    dict(type='PackAttributeInputs'),
]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    generate(folder, ['coco'], dict(train=4, val=1), size=64, seed=2)
    return folder


def build(root, names=NAMES, **kwargs):
    init_default_scope('mmground')
    return DATASETS.build(
        dict(
            type='AttributeCocoDataset',
            data_root=str(root),
            ann_file='annotations/instances_train2017.json',
            data_prefix=dict(img='images/train2017'),
            metainfo=dict(classes=tuple(THINGS), attributes=names),
            pipeline=PIPELINE,
            **kwargs,
        )
    )


def test_attributes_of_the_things(root):
    dataset = build(root)
    assert len(dataset) == 4
    for index in range(4):
        things = make_shapes_image(2, 'train', index, 64).scene.things
        instances = dataset[index]['data_samples'].gt_instances
        expected = [[name in (own.color, own.texture) for name in NAMES] for own in things]
        assert instances.attributes.dtype == torch.float32
        assert np.array_equal(instances.attributes.numpy(), np.float32(expected))
        assert instances.labels.tolist() == [list(THINGS).index(own.kind) for own in things]


def test_annotations_that_mmdet_leaves_out(root, tmp_path):
    """Boxes of no width and categories that are no classes: rows still belong to their boxes."""
    path = root / 'annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    image_id = content['images'][0]['id']
    own = [entry for entry in content['annotations'] if entry['image_id'] == image_id]
    own[0]['bbox'][2] = 0
    own[1]['category_id'] = 999
    changed = tmp_path / 'changed.json'
    changed.write_text(json.dumps(content))
    init_default_scope('mmground')
    dataset = DATASETS.build(
        dict(
            type='AttributeCocoDataset',
            ann_file=str(changed),
            data_prefix=dict(img=''),
            metainfo=dict(classes=tuple(THINGS), attributes=NAMES),
            pipeline=[],
        )
    )
    names = {entry['id']: entry['name'] for entry in ATTRIBUTES}
    instances = dataset.get_data_info(0)['instances']
    assert len(instances) == len(own) - 2 > 0
    for instance, entry in zip(instances, own[2:], strict=True):
        said = {names[number] for number in entry['attribute_ids']}
        assert instance['attributes'] == [float(name in said) for name in NAMES]
        assert instance['bbox'][:2] == entry['bbox'][:2]


def test_an_image_without_things():
    assert len(LoadAttributes()(dict(instances=[]))['gt_attributes']) == 0


def test_a_file_without_attributes(root, tmp_path):
    path = root / 'annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    del content['attributes']
    old = tmp_path / 'old.json'
    old.write_text(json.dumps(content))
    for file, names in ((str(old), NAMES), (str(path), (*NAMES, 'furry'))):
        with pytest.raises(ValueError, match=r'no attributes \[.*make them anew') as error:
            DATASETS.build(
                dict(
                    type='AttributeCocoDataset',
                    ann_file=file,
                    data_prefix=dict(img=''),
                    metainfo=dict(classes=tuple(THINGS), attributes=names),
                    pipeline=[],
                )
            )
        assert file in str(error.value)
