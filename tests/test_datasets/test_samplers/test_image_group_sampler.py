from itertools import islice, pairwise

import pytest

from mmground.datasets.samplers import ImageGroupSampler

IMAGES = ['a', 'b', 'a', 'c', 'b', 'a', 'd']


class Records:
    def __len__(self):
        return len(IMAGES)

    def get_data_info(self, index):
        return dict(img_id=IMAGES[index])


def _rounds(sampler, count):
    indices = list(islice(iter(sampler), count * len(IMAGES)))
    return [indices[i : i + len(IMAGES)] for i in range(0, len(indices), len(IMAGES))]


def _is_grouped(indices):
    images = [IMAGES[index] for index in indices]
    changes = sum(one != two for one, two in pairwise(images))
    return changes == len(set(images)) - 1


def test_each_round_has_every_sample_once_image_by_image():
    first, second, third = _rounds(ImageGroupSampler(Records(), seed=0), 3)
    for indices in (first, second, third):
        assert sorted(indices) == list(range(len(IMAGES)))
        assert _is_grouped(indices)
    assert not first == second == third


def test_the_order_follows_the_seed_or_the_file():
    again = _rounds(ImageGroupSampler(Records(), seed=0), 2)
    assert _rounds(ImageGroupSampler(Records(), seed=0), 2) == again
    (plain,) = _rounds(ImageGroupSampler(Records(), shuffle=False, seed=0), 1)
    assert plain == [0, 2, 5, 1, 4, 3, 6]


def test_processes_share_out_the_images(monkeypatch):
    seen = []
    for rank in range(2):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        indices = list(islice(iter(ImageGroupSampler(Records(), shuffle=False, seed=0)), 14))
        seen.append({IMAGES[index] for index in indices[:5]})
    assert seen == [{'a', 'c'}, {'b', 'd'}]


@pytest.mark.parametrize('num', [0, 3, 9])
def test_skip_continues_an_interrupted_order(num):
    whole = list(islice(iter(ImageGroupSampler(Records(), seed=0)), 20))
    resumed = ImageGroupSampler(Records(), seed=0)
    resumed.skip(num)
    assert list(islice(iter(resumed), 20 - num)) == whole[num:]


def test_samples_of_an_image_may_draw_alike():
    def draws(same_draws):
        sampler = ImageGroupSampler(Records(), seed=0, same_draws=same_draws)
        return [
            {index.entropy for index in indices if IMAGES[index] == 'a'}
            for indices in _rounds(sampler, 2)
        ]

    assert [len(own) for own in draws(True)] == [1, 1]
    assert draws(True)[0] != draws(True)[1]
    assert [len(own) for own in draws(False)] == [3, 3]
