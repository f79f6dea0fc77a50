import pytest
from data_factory import refer_annotations, write_referit_dataset
from mmengine.dataset import Compose

from mmground.datasets import RefCocoDataset, ReferItGameDataset


@pytest.fixture
def root(tmp_path):
    return write_referit_dataset(tmp_path)


def test_records(root):
    dataset = ReferItGameDataset(split='test', data_root=root)
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
