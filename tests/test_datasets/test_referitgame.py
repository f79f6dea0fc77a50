import json
from pathlib import Path

import pytest
from data_factory import python2_pickle, refer_annotations, refer_entry, write_refer_dataset
from mmengine.dataset import Compose

from mmground.datasets import RefCocoDataset, ReferItGameDataset
from mmground.structures import decode_mask, encode_masks


@pytest.fixture
def root(tmp_path):
    """ReferItGame's files: masks are lists of run-length codes."""
    root = Path(write_refer_dataset(tmp_path))
    content = json.loads((root / 'refcoco/instances.json').read_text())
    sizes = {image['id']: (image['height'], image['width']) for image in content['images']}
    for annotation in content['annotations']:
        mask = decode_mask(annotation['segmentation'], sizes[annotation['image_id']])
        annotation['segmentation'] = encode_masks(mask[None])
    refs = [
        refer_entry(1, 101, 11, 'train', 'left man', 'guy'),
        refer_entry(2, 103, 12, 'val', 'woman'),
        refer_entry(3, 104, 13, 'test', 'tall person', 'man'),
    ]
    (root / 'refclef').mkdir()
    (root / 'refclef/instances.json').write_text(json.dumps(content))
    (root / 'refclef/refs(berkeley).p').write_bytes(python2_pickle(refs))
    return str(root)


def test_records(root):
    dataset = ReferItGameDataset(
        split='test',
        data_root=root,
        data_prefix=dict(img_path=f'{root}/images/mscoco/images/train2014'),
    )
    found = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert [record['text'] for record in found] == ['tall person', 'man']
    x, y, width, height = refer_annotations()[3]['bbox']
    for record in found:
        assert record['phrases'][0]['span'] == (0, len(record['text']))
        assert record['regions'] == [dict(bbox=(x, y, x + width, y + height), category_id=1)]
        assert (record['relations'], record['num_predicates']) == ([], 0)
        assert (record['dataset'], record['split']) == ('refclef', 'test')
    assert dataset.metainfo['task_name'] == 'phrase_grounding'
    load = Compose([dict(type='LoadGroundingImage'), dict(type='PackGroundingInputs')])
    sample = load(found[0])['data_samples']
    assert sample.relations.shape == (0, 2) and sample.relation_labels.shape == (0, 0)


def test_expressions_are_those_of_the_segmentation_task(root):
    one, other = (
        ReferItGameDataset(split='train', data_root=root),
        RefCocoDataset(name='refclef', split='train', data_root=root),
    )
    assert one.counts == other.counts and one.counts['samples'] == 2
    for i in range(2):
        mine, theirs = one.get_data_info(i), other.get_data_info(i)
        assert mine['sample_id'] == theirs['sample_id']
        assert 'mask' in theirs['regions'][0] and 'mask' not in mine['regions'][0]


def test_wrong_split(root):
    with pytest.raises(ValueError, match="refclef has no split 'testA'"):
        ReferItGameDataset(split='testA', data_root=root)
