import itertools
from collections.abc import Iterator

import torch
from mmengine.dataset import BaseDataset, InfiniteSampler

from mmground.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ImageGroupSampler(InfiniteSampler):
    """Endless sampling in which the samples of one image follow each other.

    Samples of one image in a batch share its encoding (see
    :class:`~mmground.models.data_preprocessors.GroundingDataPreprocessor`), so a batch of
    the same number of texts costs fewer passes of the backbone. Every sample comes once in
    a round; the order of the images is random if ``shuffle``. A group may be cut by the
    end of a batch.

    Args:
        dataset: The data set; its records have ``img_id``.
        shuffle: Whether images, and the samples of each, come in random order.
        seed: Seed of the order. None draws one that all processes share.
    """

    def __init__(self, dataset: BaseDataset, shuffle: bool = True, seed: int | None = None):
        groups: dict[str, list[int]] = {}
        for index in range(len(dataset)):
            groups.setdefault(dataset.get_data_info(index)['img_id'], []).append(index)
        self.groups = list(groups.values())
        super().__init__(dataset, shuffle, seed)

    def _endless_groups(self) -> Iterator[list[int]]:
        generator = torch.Generator()
        generator.manual_seed(self.seed)
        while True:
            if not self.shuffle:
                yield from self.groups
                continue
            for place in torch.randperm(len(self.groups), generator=generator).tolist():
                group = self.groups[place]
                order = torch.randperm(len(group), generator=generator).tolist()
                yield [group[i] for i in order]

    def _indices_of_rank(self) -> Iterator[int]:
        """Samples of this process: those of every ``world_size``-th image."""
        groups = itertools.islice(self._endless_groups(), self.rank, None, self.world_size)
        return itertools.chain.from_iterable(groups)
