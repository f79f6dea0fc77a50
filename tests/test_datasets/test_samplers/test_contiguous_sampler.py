import pytest
from mmengine.runner import Runner

from mmground.datasets.samplers import ContiguousSampler


@pytest.mark.parametrize('world_size', [1, 2, 4, 9])
def test_processes_share_out_every_sample_once_in_runs(monkeypatch, world_size):
    parts = []
    for rank in range(world_size):
        monkeypatch.setattr(
            'mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, world_size)
        )
        sampler = ContiguousSampler(range(7))
        parts.append(list(sampler))
        assert len(sampler) == len(parts[-1])
    assert [index for part in parts for index in part] == list(range(7))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_runner_builds_it():
    settings = dict(batch_size=3, dataset=list(range(7)), sampler=dict(type='ContiguousSampler'))
    loader = Runner.build_dataloader(settings, seed=1)
    assert [list(batch) for batch in loader.batch_sampler] == [[0, 1, 2], [3, 4, 5], [6]]
