import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmground.registry import MODELS


@MODELS.register_module()
class BCELoss(BaseModule):
    """Binary cross-entropy on logits, averaged over all elements.

    Eq. 5 of `PPMN <https://doi.org/10.1145/3503161.3548086>`_. On dense maps mmdet's
    ``CrossEntropyLoss(use_sigmoid=True)``, which gives the same value, takes several times
    as long for its labels to ignore and its class weights.

    Args:
        loss_weight: Factor of the loss.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: Any shape.
            targets: Values in [0, 1], of the same shape.

        Returns:
            A scalar.
        """
        return self.loss_weight * F.binary_cross_entropy_with_logits(logits, targets)
