import itertools
from collections.abc import Iterator

import torch
from mmengine.dataset import BaseDataset, InfiniteSampler

from mmground.registry import DATA_SAMPLERS
from mmground.utils.randomness import Stream

from .seeded_samplers import SeededIndex


@DATA_SAMPLERS.register_module()
class ImageGroupSampler(InfiniteSampler):
    """Endless sampling in which the samples of one image follow each other.

    Samples of one image in a batch share its encoding (see
    :class:`~mmground.models.data_preprocessors.GroundingDataPreprocessor`), so a batch of
    the same number of texts costs fewer passes of the backbone. Every sample comes once in
    a round; the order of the images is random if ``shuffle``. A group may be cut by the
    end of a batch.

    Where the pipeline draws at random, samples of one image share an encoding only if they
    are changed alike, in place and pixels: ``same_draws`` lets all of them draw the same numbers
    in a round.

    Args:
        dataset: The data set; its records have ``img_id``.
        shuffle: Whether images, and the samples of each, come in random order.
        seed: Seed of the order. None draws one that all processes share.
        same_draws: Whether the random numbers of a sample's pipeline are those of its image.
    """

    def __init__(
        self,
        dataset: BaseDataset,
        shuffle: bool = True,
        seed: int | None = None,
        same_draws: bool = False,
    ):
        self.same_draws = same_draws
        groups: dict[str, list[int]] = {}
        for index in range(len(dataset)):
            groups.setdefault(dataset.get_data_info(index)['img_id'], []).append(index)
        self.groups = list(groups.values())
        super().__init__(dataset, shuffle, seed)

    def _endless_groups(self) -> Iterator[list[SeededIndex]]:
        generator = torch.Generator()
        generator.manual_seed(self.seed)
        for passed in itertools.count():
            groups = self.groups
            if self.shuffle:
                groups = [_shuffled(groups[i], generator) for i in _order(groups, generator)]
            for group in groups:
                yield [
                    SeededIndex(
                        i,
                        (self.seed, Stream.SAMPLE, passed, min(group) if self.same_draws else i),
                    )
                    for i in group
                ]

    def _indices_of_rank(self) -> Iterator[SeededIndex]:
        """Samples of this process: those of every ``world_size``-th image."""
        groups = itertools.islice(self._endless_groups(), self.rank, None, self.world_size)
        return itertools.chain.from_iterable(groups)


def _order(items: list, generator: torch.Generator) -> list[int]:
    return torch.randperm(len(items), generator=generator).tolist()


def _shuffled(items: list, generator: torch.Generator) -> list:
    return [items[i] for i in _order(items, generator)]
