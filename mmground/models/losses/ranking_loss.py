import torch
from torch import Tensor, nn

from mmground.registry import MODELS

from ..layers.masked_softmax import masked_softmax


@MODELS.register_module()
class ImageTextRankingLoss(nn.Module):
    """An image and its own text must match better than the others of the batch do (L_rank).

    The paper refers to `Align2Ground <https://arxiv.org/abs/1903.11649>`_ for it; this is the
    official code's form. Similarities become probabilities along the rows, and along the columns;
    the hardest negative of each row and of each column must stay below the positive by a margin.
    Without a negative the loss is 0.

    Args:
        margin: By how much.
        loss_weight: lambda_3 of Eq. 12.
    """

    def __init__(self, margin: float = 0.2, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.margin = margin
        self.loss_weight = loss_weight

    def forward(self, similarities: Tensor, ignored: Tensor | None = None) -> Tensor:
        """Loss of a batch.

        Args:
            similarities: Of T images (rows) with their T texts (columns). Shape (T, T).
            ignored: Pairs that are no negatives, such as another text of the same image. They
                keep their share of the probability. Shape (T, T), boolean.

        Returns:
            The sum over rows and columns.
        """
        similarities = similarities.float()
        own = torch.eye(len(similarities), dtype=torch.bool, device=similarities.device)
        skipped = own if ignored is None else own | ignored
        loss = similarities.new_zeros(())
        for dim in (0, 1):
            probs = masked_softmax(similarities, torch.ones_like(own), dim)
            positive = probs.diagonal().unsqueeze(dim)
            excess = (probs - positive + self.margin).relu().masked_fill(skipped, 0)
            loss = loss + excess.amax(dim).sum()
        return self.loss_weight * loss
