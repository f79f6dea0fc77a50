import numpy as np
import pytest
import torch

from mmground.datasets.transforms import PackGroundingInputs
from mmground.structures import Geometry


def results(**changes):
    return dict(
        img=np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3),
        img_path='a.jpg',
        img_id='7',
        sample_id='7_0',
        text='two dogs run',
        phrases=[dict(text='two dogs', span=(0, 8), type='thing', phrase_id='0')],
        ori_shape=(8, 12),
        img_shape=(4, 6),
        **changes,
    )


REGIONS = [
    dict(bbox=(0, 0, 4, 4), is_thing=True, category_id=7),
    dict(bbox=(4.5, 0, 8, 8), is_thing=False, category_id=3),
]


def test_full_record():
    masks = np.zeros((2, 8, 12), dtype=bool)
    masks[0, :4, :4] = masks[1, :, 5:8] = True
    packed = PackGroundingInputs()(
        results(regions=REGIONS, links=[(0, 0), (0, 1)], gt_region_masks=masks)
    )
    inputs, sample = packed['inputs'], packed['data_samples']
    assert inputs.dtype == torch.uint8
    assert inputs.is_contiguous()
    np.testing.assert_array_equal(inputs.numpy(), results()['img'].transpose(2, 0, 1))
    assert set(sample.metainfo_keys()) == {
        'sample_id', 'img_id', 'img_path', 'text', 'phrases', 'ori_shape', 'img_shape',
        'geometry',
    }  # fmt: skip
    assert sample.phrases == results()['phrases']
    assert sample.geometry == Geometry((8, 12), (4, 6))
    assert sample.gt_regions.masks.dtype == torch.bool
    np.testing.assert_array_equal(sample.gt_regions.masks.numpy(), masks)
    assert sample.gt_regions.bboxes.dtype == torch.float32
    assert sample.gt_regions.bboxes.tolist() == [[0, 0, 4, 4], [4.5, 0, 8, 8]]
    assert sample.gt_regions.is_thing.dtype == torch.bool
    assert sample.gt_regions.is_thing.tolist() == [True, False]
    assert sample.gt_regions.category_ids.tolist() == [7, 3]
    assert sample.links.dtype == torch.int64
    assert sample.links.tolist() == [[0, 0], [0, 1]]


def test_record_for_inference_has_no_ground_truth():
    sample = PackGroundingInputs()(results())['data_samples']
    assert sample.keys() == []


def test_record_without_masks_or_classes():
    packed = PackGroundingInputs()(results(regions=[dict(bbox=(0, 0, 4, 4))], links=[]))
    sample = packed['data_samples']
    assert sample.gt_regions.keys() == ['bboxes']
    assert sample.links.shape == (0, 2)


def test_relations():
    relations = [(1, 0, [2, 0]), (0, 1, [])]
    sample = PackGroundingInputs()(results(relations=relations, num_predicates=3))['data_samples']
    assert sample.relations.tolist() == [[1, 0], [0, 1]]
    assert sample.relations.dtype == torch.int64
    assert sample.relation_labels.tolist() == [[True, False, True], [False] * 3]
    assert sample.relation_labels.dtype == torch.bool
    sample = PackGroundingInputs()(results(relations=[], num_predicates=3))['data_samples']
    assert sample.relations.shape == (0, 2) and sample.relation_labels.shape == (0, 3)
    with pytest.raises(ValueError, match=r'relations must be \(E, 2\) pairs'):
        sample.relations = torch.zeros(3)


def test_no_regions():
    sample = PackGroundingInputs()(results(regions=[], links=[]))['data_samples']
    assert sample.gt_regions.bboxes.shape == (0, 4)


def test_flip():
    img = results()['img'][:, ::-1]
    packed = PackGroundingInputs()({**results(flip=True, flip_direction='horizontal'), 'img': img})
    np.testing.assert_array_equal(packed['inputs'].numpy(), img.transpose(2, 0, 1))
    assert packed['data_samples'].geometry == Geometry((8, 12), (4, 6), flip=True)
    with pytest.raises(ValueError, match="sample '7_0' was flipped in the direction 'vertical'"):
        PackGroundingInputs()(results(flip=True, flip_direction='vertical'))
    packed = PackGroundingInputs()(results(flip=False, flip_direction=None))
    assert not packed['data_samples'].geometry.flip


@pytest.mark.parametrize(
    'img', [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 4), np.uint8), np.zeros((4, 6, 3))]
)
def test_not_an_image(img):
    with pytest.raises(ValueError, match=r"a\.jpg: the image of sample '7_0' must be uint8"):
        PackGroundingInputs()({**results(), 'img': img})
