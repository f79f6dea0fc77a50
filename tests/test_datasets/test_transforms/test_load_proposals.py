import pickle

import numpy as np
import pytest
import torch

from mmground.datasets.proposal_store import ProposalWriter
from mmground.datasets.transforms import LoadProposals, PackGroundingInputs
from mmground.registry import TRANSFORMS

BOXES = np.array([[0, 0, 4, 4], [2, 1, 30.5, 8], [1, 1, 3, 2]], np.float32)


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / 'proposals.db')
    header = dict(detector='d', classes=['a', 'b'], config_hash='h')
    with ProposalWriter(path, header) as writer:
        own = dict(
            boxes=BOXES, labels=np.array([1, 0, 1]), scores=np.array([0.9, 0.5, 0.25], np.float32)
        )
        writer.add([('7', own)])
    return path


def results(**changes):
    return dict(
        img=np.zeros((4, 6, 3), np.uint8),
        img_path='a.jpg',
        img_id='7',
        sample_id='7_0',
        text='a dog',
        phrases=[dict(text='a dog', span=(0, 5), type='', phrase_id='0')],
        ori_shape=(8, 12),
        img_shape=(4, 6),
        **changes,
    )


def test_the_best_are_packed_in_original_pixels(path):
    load = TRANSFORMS.build(dict(type='LoadProposals', path=path, num=2))
    load = pickle.loads(pickle.dumps(load))
    sample = PackGroundingInputs()(load(results(height=8, width=12)))['data_samples']
    assert sample.proposals.bboxes.tolist() == [[0, 0, 4, 4], [2, 1, 12, 8]]  # clipped
    assert sample.proposals.bboxes.dtype == sample.proposals.scores.dtype == torch.float32
    assert sample.proposals.labels.tolist() == [1, 0]
    assert sample.proposals.labels.dtype == torch.int64
    assert torch.equal(sample.proposals.scores, torch.tensor([0.9, 0.5]))
    whole = LoadProposals(path)(results())['proposals']
    np.testing.assert_array_equal(whole['boxes'], BOXES)
    # What one sample gets is not what the next one gets.
    whole['boxes'][:] = 0
    np.testing.assert_array_equal(LoadProposals(path)(results())['proposals']['boxes'], BOXES)


def test_errors(path, tmp_path):
    with pytest.raises(ValueError, match=r"no proposals for image '8' of sample '7_0'; run tools"):
        LoadProposals(path)({**results(), 'img_id': '8'})
    with pytest.raises(ValueError, match=r"lies outside of image '7' \(.*db\), which has 2 x 8"):
        LoadProposals(path)(results(height=8, width=2))
    with pytest.raises(ValueError, match='num must be at least 1'):
        LoadProposals(path, num=0)
    missing = LoadProposals(str(tmp_path / 'none.db'))  # a config can be built without the file
    with pytest.raises(FileNotFoundError, match='do not exist'):
        missing(results())
    assert 'num=50' in repr(missing)
