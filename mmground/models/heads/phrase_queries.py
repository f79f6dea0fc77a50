from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmground.structures import Geometry, GroundingDataSample, TextFeatures

QUERIES = ('piece', 'phrase')


@dataclass
class PhraseQueries:
    """The queries of a batch, packed image by image: M of P phrases in T texts.

    A query is a piece of a phrase, or a whole phrase.

    Args:
        features: Text features. Shape (M, C).
        image_index: The image of each query, ascending. Shape (M, ).
        phrase_index: The phrase of each query among all P of the batch. Shape (M, ).
        slots: The place of each query among those of its text, in the order of the
            text, from 0. Shape (M, ).
        counts: Phrases of each text; they sum to P.
        geometries: How each image lies on the canvas, B of them; None where it is unknown.
    """

    features: Tensor
    image_index: Tensor
    phrase_index: Tensor
    slots: Tensor
    counts: tuple[int, ...]
    geometries: tuple[Geometry, ...] | None = None

    @property
    def dropped(self) -> Tensor:
        """Phrases without a query. Bool, shape (P, )."""
        return torch.bincount(self.phrase_index, minlength=sum(self.counts)) == 0

    @classmethod
    def pack(
        cls,
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
        query: str = 'piece',
        max_queries: int | None = None,
    ) -> 'PhraseQueries':
        """Collect the queries of all phrases of a batch.

        Args:
            text: The encoded texts, one per sample.
            data_samples: Samples whose metainfo has ``phrases``, ``image_index`` and
                ``geometry``.
            query: What a query is, a ``'piece'`` or a ``'phrase'``, the mean of its pieces.
            max_queries: Queries of a text at most; those behind are left out. None keeps all.
        """
        counts = torch.tensor([len(sample.phrases) for sample in data_samples])
        device = text.pieces.device
        spans = [phrase['span'] for sample in data_samples for phrase in sample.phrases]
        spans = torch.tensor(spans, dtype=torch.int64).reshape(-1, 2).to(device)
        text_index = torch.arange(len(data_samples)).repeat_interleave(counts).to(device)
        features, phrase_index, places = text.phrase_pieces(spans, text_index)
        if query == 'phrase':
            places = places[is_first_of_run(phrase_index)]
            features, phrase_index = mean_of_runs(features, phrase_index)
        text_index = text_index[phrase_index]
        slots = rank_in_groups(places, text_index)
        images = torch.tensor([sample.image_index for sample in data_samples], device=device)
        image_index, order = images[text_index].sort(stable=True)
        if max_queries is not None:
            kept = slots[order] < max_queries
            image_index, order = image_index[kept], order[kept]
        geometries = {sample.image_index: sample.geometry for sample in data_samples}
        return cls(
            features[order],
            image_index,
            phrase_index[order],
            slots[order],
            tuple(counts.tolist()),
            tuple(geometries[index] for index in sorted(geometries)),
        )


def is_first_of_run(index: Tensor) -> Tensor:
    """Where a value differs from the one before. Shape (M, ), bool."""
    return torch.cat((index.new_ones(1, dtype=torch.bool), index[1:] != index[:-1]))[: len(index)]


def rank_in_groups(keys: Tensor, group: Tensor) -> Tensor:
    """The place of each key among those of its group, from 0.

    Args:
        keys: Not negative; equal ones keep their order. Shape (M, ), int64.
        group: The group of each key. Shape (M, ), int64.

    Returns:
        Shape (M, ), int64.
    """
    by_key = keys.argsort(stable=True)
    order = by_key[group[by_key].argsort(stable=True)]
    sizes = torch.bincount(group)
    starts = sizes.cumsum(0) - sizes
    ranks = torch.empty_like(keys)
    ranks[order] = torch.arange(len(keys), device=keys.device) - starts[group[order]]
    return ranks


def mean_of_runs(features: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Average the features that have the same index, in float32.

    Args:
        features: Shape (M, C).
        index: What each feature belongs to, ascending. Shape (M, ).

    Returns:
        The means, (K, C), in the features' type, and the index of each, (K, ).
    """
    present, run = index.unique_consecutive(return_inverse=True)
    return mean_of_groups(features.float(), run, len(present)).to(features.dtype), present


def mean_of_groups(features: Tensor, index: Tensor, num: int) -> Tensor:
    """Average features, or maps, over groups.

    Args:
        features: Shape (M, ...).
        index: The group of each, in any order. Shape (M, ).
        num: Number of groups, K.

    Returns:
        Shape (K, ...); zero for a group without a member.
    """
    sums = features.new_zeros((num, *features.shape[1:])).index_add_(0, index, features)
    counts = torch.bincount(index, minlength=num).clamp(min=1)
    return sums / counts.view(-1, *[1] * (features.dim() - 1))
