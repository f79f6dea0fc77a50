import copy
import gc

import pytest

from mmground.datasets import BaseGroundingDataset
from mmground.datasets.base_grounding import (
    check_record,
    text_donors,
    text_donors_in_image,
)


def record(sample_id, img_id, num_phrases):
    text = ' '.join(f'{sample_id}-{i}' for i in range(num_phrases))
    phrases, start = [], 0
    for i in range(num_phrases):
        words = f'{sample_id}-{i}'
        phrases.append(
            dict(text=words, span=(start, start + len(words)), type=f't{i}', phrase_id=str(i))
        )
        start += len(words) + 1
    return dict(
        sample_id=sample_id,
        img_id=img_id,
        img_path=f'{img_id}.jpg',
        height=10,
        width=10,
        text=text,
        phrases=phrases,
        regions=[dict(bbox=(0, 0, 5, 5))],
        links=[(i, 0) for i in range(num_phrases)],
    )


class ToyDataset(BaseGroundingDataset):
    def __init__(self, records, **kwargs):
        self.records = records
        super().__init__(ann_file='toy.json', **kwargs)

    def load_records(self):
        assert not gc.isenabled()
        return copy.deepcopy(self.records)


def many_records():
    # 40 images with 1-3 samples of 1-4 phrases, one sample with more than any other.
    records = [
        record(f's{image}.{k}', f'img{image}', 1 + (image * 7 + k * 3) % 4)
        for image in range(40)
        for k in range(1 + image % 3)
    ]
    return [*records, record('longest', 'img3', 9)]


def test_plain():
    records = many_records()
    dataset = ToyDataset(records)
    assert gc.isenabled()
    assert len(dataset) == len(records)
    assert {**dataset[5], 'sample_idx': 0} == {**records[5], 'sample_idx': 0}


def test_shuffled_text():
    records = many_records()
    by_id = {r['sample_id']: r for r in records}
    dataset = ToyDataset(records, control='shuffled_text')
    assert len(dataset) == len(records)
    donors = []
    for i, own in enumerate(records):
        blind = dataset[i]
        donor = by_id[blind.pop('text_sample_id')]
        donors.append(donor['sample_id'])
        assert donor['img_id'] != own['img_id']
        assert blind['text'] == donor['text'] != own['text']
        for key in ('sample_id', 'img_id', 'img_path', 'regions', 'links', 'height', 'width'):
            assert blind[key] == own[key]
        assert len(blind['phrases']) == len(own['phrases'])
        for k, (phrase, mine) in enumerate(zip(blind['phrases'], own['phrases'], strict=True)):
            words = donor['phrases'][k % len(donor['phrases'])]
            assert (phrase['text'], phrase['span']) == (words['text'], words['span'])
            assert (phrase['type'], phrase['phrase_id']) == (mine['type'], mine['phrase_id'])
        check_record(blind, 'toy.json')
        if own['sample_id'] != 'longest':
            assert len(donor['phrases']) == len(own['phrases'])
    # Every text of the common counts is used exactly once.
    assert sorted(donors[:-1]) == sorted(by_id.keys() - {'longest'})
    assert len(by_id[donors[-1]]['phrases']) == 4
    again = ToyDataset(records, control='shuffled_text')
    assert [again[i]['text'] for i in range(len(again))] == [
        dataset[i]['text'] for i in range(len(dataset))
    ]


def test_shuffled_text_of_a_part_is_that_of_the_whole():
    whole = ToyDataset(many_records(), control='shuffled_text')
    part = ToyDataset(many_records(), control='shuffled_text', indices=[7, 2])
    assert [part[0]['text'], part[1]['text']] == [whole[7]['text'], whole[2]['text']]
    chosen = ToyDataset(
        many_records(), control='shuffled_text', filter_cfg=dict(sample_ids=['longest'])
    )
    assert len(chosen) == 1
    assert chosen[0]['text'] == whole[len(whole) - 1]['text']


@pytest.mark.parametrize(
    ('images', 'counts', 'expected'),
    [
        ('ab', [2, 2], [1, 0]),
        # The next larger count of another image, then the largest there is.
        ('aab', [1, 1, 4], [2, 2, None]),
        ('ab', [5, 2], [1, 0]),
        ('aabc', [3, 3, 1, 2], [3, 3, None, None]),
    ],
)
def test_text_donors(images, counts, expected):
    donors = text_donors(images, counts)
    for i, donor in enumerate(donors):
        assert images[donor] != images[i]
        if expected[i] is not None:
            assert donor == expected[i]


@pytest.mark.parametrize('size', [2, 3, 10, 57])
def test_text_donors_are_a_derangement_of_images(size):
    # No image has more than half of the samples: everyone gives its text once.
    images = [str(i // 2) for i in range(2 * size)]
    donors = text_donors(images, [3] * len(images))
    assert sorted(donors) == list(range(len(images)))
    assert all(images[donor] != image for donor, image in zip(donors, images, strict=True))


def test_text_donors_need_two_images():
    with pytest.raises(ValueError, match='at least two images'):
        text_donors(['a', 'a'], [1, 2])


def test_text_donors_in_image():
    #          0 1 2 3  4 5 6  7 8
    images = 'aaaabbbcc'
    targets = [1, 1, 2, 2, 3, 3, 4, 5, 5]
    donors = text_donors_in_image(images, targets)
    assert sorted(donors[:4]) == [0, 1, 2, 3]
    # Target 3 has two of three expressions: one of them finds no other's.
    assert donors[4:7].count(None) == 1
    assert donors[7:] == [None, None]
    for i, donor in enumerate(donors):
        if donor is not None:
            assert images[donor] == images[i] and targets[donor] != targets[i]


def test_shuffled_in_image():
    records = [
        {**record(f's{i}', f'img{i // 3}', 1), 'ann_id': [1, 1, 2, 3, 4, 5, 6, 6, 6][i]}
        for i in range(9)
    ]
    dataset = ToyDataset(records, control='shuffled_in_image')
    for before, after in zip(records, dataset, strict=True):
        donor = records[int(after['text_sample_id'][1:])]
        assert donor['ann_id'] != before['ann_id']
        assert after['text'] == donor['text'] and after['regions'] == before['regions']
        only_target = before['img_id'] == 'img2'
        assert only_target == (donor['img_id'] != before['img_id']) or before['ann_id'] == 1
    with pytest.raises(ValueError, match=r'needs to know .* ann_id'):
        ToyDataset(many_records(), control='shuffled_in_image')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(phrases=[]), 'no phrase to ground'),
        (dict(text='s'), r"phrase 0 \('s-0'\) has the span \(0, 3\), which is not a range"),
        (dict(text='t-0 s-1'), "phrase 0 is 's-0', but its span .* is 't-0'"),
        (dict(regions=[dict(bbox=(1, 1, 1, 4))]), 'region 0 has the box'),
        (dict(regions=[dict(bbox=(1, 1, float('nan'), 4))]), 'region 0 has the box'),
        (dict(links=[(0, 1)]), r'link \(0, 1\) points outside its 2 phrases and 1 regions'),
        (dict(links=[(-1, 0)]), r'link \(-1, 0\)'),
        (dict(links=[(2, 0)]), r'link \(2, 0\)'),
        (dict(links=[(0, 0), (0, 0)]), 'repeated'),
        (dict(relations=[(0, 2, [])]), r'relation \(0, 2\) is not between two of its phrases'),
        (dict(relations=[(0, 1, []), (0, 1, [])]), 'relation between two phrases is repeated'),
        (dict(relations=[(1, 1, [])]), r'relation \(1, 1\) is not between two'),
        (dict(relations=[(0, 1, [0, 4])], num_predicates=4), r'has the predicates \[0, 4\]'),
    ],
)
def test_inconsistent_records(change, message):
    good = record('s', 'img', 2)
    check_record(good, 'toy.json')
    with pytest.raises(ValueError, match=f"^toy.json: sample 's': .*{message}"):
        ToyDataset([record('other', 'img', 1), {**good, **change}])


def test_empty_span():
    bad = record('s', 'img', 1)
    bad['phrases'][0].update(text='', span=(2, 2))
    with pytest.raises(ValueError, match='not a range'):
        check_record(bad, 'toy.json')


def test_data_set_errors():
    with pytest.raises(ValueError, match=r"toy.json: sample_id 'a' occurs twice"):
        ToyDataset([record('a', 'x', 1), record('a', 'y', 1)])
    with pytest.raises(ValueError, match=r'toy.json: no sample is left'):
        ToyDataset([])
    with pytest.raises(ValueError, match=r"control must be one of .*'shuffled_text'"):
        ToyDataset(many_records(), control='shuffle')
    with pytest.raises(ValueError, match=r"filter_cfg takes .* got \['min_size'\]"):
        ToyDataset(many_records(), filter_cfg=dict(min_size=3))
    with pytest.raises(ValueError, match=r"filter_cfg\['img_ids'\] names \['nowhere'\]"):
        ToyDataset(many_records(), filter_cfg=dict(img_ids=['nowhere', 'img1']))
    with pytest.raises(ValueError, match='no sample is left by filter_cfg'):
        ToyDataset(many_records(), filter_cfg=dict(img_ids=['img1'], sample_ids=['longest']))
    assert gc.isenabled()


def test_filter():
    dataset = ToyDataset(many_records(), filter_cfg=dict(img_ids=['img1', 'img3']))
    assert len(dataset) == 4
    assert {dataset[i]['img_id'] for i in range(4)} == {'img1', 'img3'}
