import pickle

import pytest
import torch
from data_factory import write_png_dataset
from mmengine.dataset import ConcatDataset, DefaultSampler, InfiniteSampler, RepeatDataset
from mmengine.runner import Runner
from tiny_training import PIPELINE

from mmground.datasets.samplers import SeededDefaultSampler, SeededIndex, SeededInfiniteSampler


def test_indices_are_those_of_mmengine():
    ours, theirs = (kind(range(10), seed=3) for kind in (SeededDefaultSampler, DefaultSampler))
    for epoch in range(2):
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        assert list(ours) == list(theirs)
    ours, theirs = (kind(range(10), seed=3) for kind in (SeededInfiniteSampler, InfiniteSampler))
    ours, theirs = iter(ours), iter(theirs)
    assert [next(ours) for _ in range(25)] == [next(theirs) for _ in range(25)]


def test_every_sample_of_a_training_has_a_seed_of_its_own():
    sampler = SeededDefaultSampler(range(10), seed=3)
    seeds = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        seeds += [index.entropy for index in sampler]
    endless = iter(SeededInfiniteSampler(range(10), seed=3))
    assert {next(endless).entropy for _ in range(20)} == set(seeds)
    assert len(set(seeds)) == 20
    assert next(iter(SeededDefaultSampler(range(10), seed=4))).entropy not in seeds


def test_skipping_does_not_change_the_seeds():
    straight, skipped = (SeededInfiniteSampler(range(10), seed=3) for _ in range(2))
    skipped.skip(13)
    straight, skipped = iter(straight), iter(skipped)
    expected = [next(straight) for _ in range(20)][13:]
    actual = [next(skipped) for _ in range(7)]
    assert actual == expected
    assert [index.entropy for index in actual] == [index.entropy for index in expected]


def test_resuming_within_an_epoch_leaves_out_samples_of_that_epoch_only():
    sampler = SeededDefaultSampler(range(10), seed=3)
    whole = list(sampler)
    sampler.resume_at(4)
    rest = list(sampler)
    assert rest == whole[4:]
    assert [index.entropy for index in rest] == [index.entropy for index in whole[4:]]
    assert list(sampler) == whole


def test_an_index_keeps_its_seed():
    index = SeededIndex(7, (1, 2))
    for other, value in ((pickle.loads(pickle.dumps(index)), 7), (index - 5, 2), (index % 4, 3)):
        assert (other, other.entropy) == (value, (1, 2))
    assert list(range(10))[index] == 7


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    """Config of a data set whose pictures are mirrored at random."""
    files = write_png_dataset(tmp_path_factory.mktemp('png'))
    return dict(type='PNGDataset', pipeline=PIPELINE, **files)


def _flips(dataset, sampler='SeededDefaultSampler', num_workers=0, epochs=6) -> list[list]:
    """For each epoch, sample ids and whether they were mirrored, in loading order."""
    loader = Runner.build_dataloader(
        dict(
            dataset=dataset,
            batch_size=2,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            sampler=dict(type=f'mmground.{sampler}', shuffle=True),
        ),
        seed=5,
    )
    flips = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        batches = [batch['data_samples'] for batch in loader]
        flips.append([(s.sample_id, s.geometry.flip) for batch in batches for s in batch])
    return flips


def test_what_a_pipeline_draws_is_independent_of_the_workers(dataset):
    torch.manual_seed(1)
    alone = _flips(dataset)
    with_workers = _flips(dataset, num_workers=2)
    assert with_workers == alone
    drawn = {frozenset(epoch) for epoch in alone}
    assert len(drawn) > 1, 'it is drawn anew in every epoch'
    flips = [flip for epoch in alone for _, flip in epoch]
    assert 0 < sum(flips) < len(flips)


def test_loading_a_sample_leaves_the_generators_of_the_process_alone(dataset):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    built = RepeatDataset(dataset, times=1)
    built[SeededIndex(0, (1, 2))]
    assert torch.equal(torch.rand(3), expected)


def test_wrapped_data_sets_keep_the_seed(dataset):
    repeated, joined = RepeatDataset(dataset, times=3), ConcatDataset([dataset, dataset])
    plain, size = repeated.dataset, len(repeated.dataset)
    for seed in range(8):
        flips = {
            data[SeededIndex(index, (seed,))]['data_samples'].geometry.flip
            for data, index in ((plain, 2), (repeated, 2 * size + 2), (joined, size + 2))
        }
        assert len(flips) == 1
