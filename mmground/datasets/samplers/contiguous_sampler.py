from collections.abc import Iterator

from mmengine.dataset import DefaultSampler

from mmground.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ContiguousSampler(DefaultSampler):
    """Every sample once, in order, a run of neighbours for each process.

    For evaluation of data sets whose samples of one image are neighbours: they come in one
    batch, which encodes the image once (see
    :class:`~mmground.models.data_preprocessors.GroundingDataPreprocessor`), on several
    processes, too, where MMEngine's ``DefaultSampler`` deals samples out in turn. Numbers of
    samples differ by one at most between processes; none is repeated.

    Args:
        dataset: The data set.
        seed: Not needed: nothing is random. It is here because MMEngine's runner gives one.
    """

    def __init__(self, dataset, seed: int | None = None) -> None:
        super().__init__(dataset, shuffle=False, seed=seed or 0, round_up=False)
        size = len(dataset)
        self.start = size * self.rank // self.world_size
        self.num_samples = size * (self.rank + 1) // self.world_size - self.start

    def __iter__(self) -> Iterator[int]:
        """Iterate over the samples of this process."""
        return iter(range(self.start, self.start + self.num_samples))
