import numpy as np

from mmground.evaluation.functional import label_groups, length_groups, size_groups


def members(groups):
    return {name: np.flatnonzero(group).tolist() for name, group in groups.items()}


def test_sizes_of_coco():
    areas = np.array([0, 1023, 1023.5, 1024, 9215, 9216, 90000])
    assert members(size_groups(areas)) == dict(small=[0, 1, 2], medium=[3, 4], large=[5, 6])


def test_lengths():
    texts = ['cat', 'a  cat', ' the cat left ', 'the cat on the left', 'w ' * 9]
    groups = length_groups(texts, starts=(1, 2, 4, 6))
    assert members(groups) == {'1': [0], '2-3': [1, 2], '4-5': [3], '6 or more': [4]}


def test_labels():
    assert members(label_groups(['b', '', 'a', 'b'])) == dict(b=[0, 3], a=[2])
    assert label_groups([]) == {}
