import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn


class PairNetwork(BaseModule):
    """A network of one or two linear layers over pairs of a phrase and a region (Eq. 2 of ReIR).

    The input of a pair is the phrase's feature followed by the region's. The first layer is
    computed on each for itself and added up, so that the pairs of an image take no more
    memory than the layer's output.

    Args:
        channels: C, of phrases and of regions.
        out_channels: Outputs of a pair.
        hidden_channels: Of the hidden layer; None is a single linear layer.
        with_phrase: Whether the phrase is a part of the input.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        hidden_channels: int | None = None,
        with_phrase: bool = True,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.with_phrase = with_phrase
        in_channels = 2 * channels if with_phrase else channels
        self.layers = nn.Sequential(nn.Linear(in_channels, hidden_channels or out_channels))
        if hidden_channels is not None:
            self.layers.append(nn.ReLU(inplace=True))
            self.layers.append(nn.Linear(hidden_channels, out_channels))

    def forward(self, phrases: Tensor, regions: Tensor, owner: Tensor | None = None) -> Tensor:
        """Compute pairs.

        Args:
            phrases: Shape (P, C).
            regions: The n candidates of each phrase, (P, n, C); or those of each image,
                (B, n, C), with ``owner``.
            owner: The image of each phrase. Shape (P, ).

        Returns:
            Shape (P, n, out_channels).
        """
        first = self.layers[0]
        of_regions = F.linear(regions, first.weight[:, -self.channels :], first.bias)
        pairs = of_regions if owner is None else of_regions[owner]
        if self.with_phrase:
            of_phrases = F.linear(phrases, first.weight[:, : self.channels])
            pairs = pairs + of_phrases[:, None]
        return self.layers[1:](pairs)
