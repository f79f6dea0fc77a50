import torch.nn.functional as F
from torch import Tensor, nn

from mmground.registry import MODELS

from .per_text import check_reduction, sum_per_text


@MODELS.register_module()
class ReconstructionLoss(nn.Module):
    """Cross entropy of the words that a phrase is rebuilt with (Eq. 14).

    Args:
        reduction: What becomes of all words of a text's phrases, ends included: their ``'mean'``,
            as in the official code, or their ``'sum'``, as in the paper.
        loss_weight: Factor.

    Raises:
        ValueError: If there is no such ``reduction``.
    """

    def __init__(self, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight

    def forward(
        self, logits: Tensor, targets: Tensor, mask: Tensor, text_index: Tensor, num_texts: int
    ) -> Tensor:
        """Loss of each text.

        Args:
            logits: Shape (P, L, V).
            targets: Ids of the words. Shape (P, L), int64.
            mask: Words that count. Shape (P, L), boolean.
            text_index: The text of each phrase. Shape (P, ).
            num_texts: Number of texts, T.

        Returns:
            Shape (T, ).
        """
        of_words = F.cross_entropy(logits.float().transpose(1, 2), targets, reduction='none')
        totals = sum_per_text((of_words * mask).sum(1), text_index, num_texts)
        if self.reduction == 'sum':
            return self.loss_weight * totals
        counts = sum_per_text(mask.sum(1), text_index, num_texts)
        return self.loss_weight * totals / counts.clamp(min=1)
