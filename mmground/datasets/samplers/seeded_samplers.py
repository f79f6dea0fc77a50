"""MMEngine's samplers, with a seed for every sample that they yield."""

from collections.abc import Iterator
from itertools import islice

from mmengine.dataset import DefaultSampler, InfiniteSampler

from mmground.registry import DATA_SAMPLERS
from mmground.utils.randomness import Stream


class SeededIndex(int):
    """The index of a sample, with what the random numbers of its pipeline are seeded from.

    It travels to the worker that loads the sample, so what the pipeline draws depends on
    neither the number of workers nor what was loaded before. A difference or a remainder
    keeps the seed: MMEngine's ``ConcatDataset`` and ``RepeatDataset`` compute the index of
    the wrapped data set so.

    Args:
        index: The index.
        entropy: Arguments of :func:`mmground.utils.randomness.seeded_generators`.
    """

    entropy: tuple[int, ...]

    def __new__(cls, index: int, entropy: tuple[int, ...]) -> 'SeededIndex':
        """Make an index."""
        self = super().__new__(cls, index)
        self.entropy = entropy
        return self

    def __getnewargs__(self) -> tuple[int, tuple[int, ...]]:
        """Arguments with which to make it again from a pickle."""
        return int(self), self.entropy

    def __sub__(self, other: int) -> 'SeededIndex':
        """Index in a part of a concatenation."""
        return SeededIndex(int(self) - other, self.entropy)

    def __mod__(self, other: int) -> 'SeededIndex':
        """Index in what is repeated."""
        return SeededIndex(int(self) % other, self.entropy)


@DATA_SAMPLERS.register_module()
class SeededDefaultSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler``; random numbers of a sample depend on (seed, epoch, index).

    It can also start within an epoch, see :meth:`resume_at`.

    Args:
        *args: As for :class:`mmengine.dataset.DefaultSampler`.
        **kwargs: As for :class:`mmengine.dataset.DefaultSampler`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._start = 0

    def __iter__(self) -> Iterator[SeededIndex]:
        """Iterate over an epoch, or what is left of it."""
        start, self._start = self._start, 0
        for index in islice(super().__iter__(), start, None):
            yield SeededIndex(index, (self.seed, Stream.SAMPLE, self.epoch, index))

    def resume_at(self, num_samples: int) -> None:
        """Leave out the first samples of the next epoch only.

        Args:
            num_samples: Samples of this process that were used before.
        """
        self._start = num_samples


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """MMEngine's ``InfiniteSampler``; random numbers of a sample depend on (seed, pass, index).

    A pass is one run through the data set; an ``IterBasedTrainLoop`` that resumes goes on
    where the last one stopped.

    Args:
        *args: As for :class:`mmengine.dataset.InfiniteSampler`.
        **kwargs: As for :class:`mmengine.dataset.InfiniteSampler`.
    """

    def _infinite_indices(self) -> Iterator[SeededIndex]:
        for position, index in enumerate(super()._infinite_indices()):
            entropy = (self.seed, Stream.SAMPLE, position // self.size, index)
            yield SeededIndex(index, entropy)
