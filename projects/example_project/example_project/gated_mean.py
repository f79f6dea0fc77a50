import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmground.registry import MODELS


@MODELS.register_module()
class GatedMean(BaseModule):
    """Aggregate pixels into queries by a mean in which each pixel has a gate.

    Any module with this ``forward`` fits ``LCPA.aggregation``. This one gives each pixel p of
    a query q the gate ``g = sigmoid(q . W p / sqrt(C))`` and returns
    ``LN(q + sum(g p) / sum(g))``. Unlike the weights of a softmax, one pixel's gate does not
    depend on the others.

    Args:
        channels: Channels C of queries and pixels; ``LCPA`` passes them.
        init_cfg: Initialisation. None is PyTorch's own.
    """

    def __init__(self, channels: int, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.gate = nn.Linear(channels, channels, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Aggregate.

        Args:
            queries: The queries of a batch, packed. Shape (M, C).
            context: The features of each query's selected pixels. Shape (M, S, C).

        Returns:
            The refined queries. Shape (M, C).
        """
        scores = torch.einsum('mc,msc->ms', queries @ self.gate.weight, context)
        gates = (scores / queries.shape[-1] ** 0.5).sigmoid()
        mean = torch.einsum('ms,msc->mc', gates, context) / gates.sum(1, keepdim=True)
        return self.norm(queries + mean)
