from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmground.datasets.relation_file import RelationFile
from mmground.registry import MODELS

from .per_text import sum_per_text

FORMS = ('bce', 'ce')


def relation_class_weights(counts: Sequence[int], highest: float = 10.0) -> Tensor:
    """Weights of relations: the rarer, the higher.

    ``1 / sqrt(count)``, stretched to the range from 1, for the most frequent, to ``highest``.

    Args:
        counts: How often each relation occurs in the training set, at least once.
        highest: Weight of the rarest.

    Returns:
        Shape (C_r, ); 1 for all if they are equally frequent.

    Raises:
        ValueError: If a relation never occurs.
    """
    counts = torch.tensor(counts, dtype=torch.float64)
    if (counts < 1).any():
        raise ValueError(
            f'relation {int((counts < 1).nonzero()[0])} (from 0) occurs less than once: leave it '
            'out of the vocabulary of relations'
        )
    rarity = counts.rsqrt()
    spread = rarity.max() - rarity.min()
    if not len(counts) or spread == 0:
        return torch.ones(len(counts))
    return (1 + (highest - 1) * (rarity - rarity.min()) / spread).float()


@MODELS.register_module()
class RelationLoss(nn.Module):
    """How the things that two phrases refer to are related (Eqs. 16-17).

    A pair of phrases may have several relations: binary cross entropy on each class, weighted by
    its rarity, the mean over a text's pairs and all classes (the official code). With
    ``form='ce'`` it is the paper's Eq. 17, the sum over pairs of the cross entropy; a pair of
    several relations counts with the mean over them. A pair without a known relation takes no
    part.

    Args:
        form: ``'bce'`` or ``'ce'``.
        class_counts: How often each relation occurs in the training set, for the weights of
            ``'bce'``; or a :class:`RelationFile`, which is read with the first loss. None weighs
            all classes alike.
        highest_weight: Of the rarest relation.
        loss_weight: lambda_2 of Eq. 12.

    Raises:
        ValueError: If there is no such ``form``.
    """

    def __init__(
        self,
        form: str = 'bce',
        class_counts: Sequence[int] | str | None = None,
        highest_weight: float = 10.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f'form must be one of {FORMS}, got {form!r}')
        self.form = form
        self.class_counts = class_counts
        self.highest_weight = highest_weight
        self.loss_weight = loss_weight
        self._class_weights: Tensor | None = None

    def class_weights(self, num_classes: int) -> Tensor | None:
        """Weights of the classes on the CPU, shape (C_r, ), or None.

        Args:
            num_classes: As many there must be.

        Raises:
            FileNotFoundError: If the file of counts does not exist.
            ValueError: If it is malformed, or has another number of classes.
        """
        if self.class_counts is None:
            return None
        if self._class_weights is None:
            counts = self.class_counts
            if isinstance(counts, str):
                counts = RelationFile.load(counts).counts
            self._class_weights = relation_class_weights(counts, self.highest_weight)
        if len(self._class_weights) != num_classes:
            raise ValueError(
                f'{self.class_counts} counts {len(self._class_weights)} relations, but the model '
                f'has {num_classes}: set model.head.num_relations to that number, or to the file'
            )
        return self._class_weights

    def forward(
        self, logits: Tensor, labels: Tensor | None, text_index: Tensor, num_texts: int
    ) -> Tensor:
        """Loss of each text.

        Args:
            logits: Of pairs of phrases. Shape (E, C_r).
            labels: Which relations they have. Shape (E, C_r), boolean; None without a pair.
            text_index: The text of each pair. Shape (E, ).
            num_texts: Number of texts, T.

        Returns:
            Shape (T, ).

        Raises:
            ValueError: If there are pairs without labels, or with those of other relations.
        """
        if labels is None:
            if len(logits):
                raise ValueError(
                    'samples have relations without relation_labels, which the relation loss needs:'
                    ' set model.head.num_relations=0 to train without'
                )
            labels = torch.zeros_like(logits, dtype=torch.bool)
        if labels.shape != logits.shape:
            raise ValueError(
                f'relation_labels are of {labels.shape[1]} relations, but the model tells '
                f'{logits.shape[1]} apart: set model.head.num_relations to the relations file of '
                'the data'
            )
        known = labels.any(1)
        logits, labels, text_index = logits[known].float(), labels[known].float(), text_index[known]
        if self.form == 'ce':
            of_pairs = F.cross_entropy(
                logits, labels / labels.sum(1, keepdim=True), reduction='none'
            )
            return self.loss_weight * sum_per_text(of_pairs, text_index, num_texts)
        weights = self.class_weights(logits.shape[1])
        weights = None if weights is None else weights.to(logits.device)
        of_pairs = F.binary_cross_entropy_with_logits(
            logits, labels, weights, reduction='none'
        ).mean(1)
        counts = torch.bincount(text_index, minlength=num_texts).clamp(min=1)
        return self.loss_weight * sum_per_text(of_pairs, text_index, num_texts) / counts
