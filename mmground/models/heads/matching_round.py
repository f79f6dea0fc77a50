from dataclasses import dataclass, replace

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmground.registry import MODELS
from mmground.structures import Geometry

from ..layers.conv_module import PlainConvModule
from ..layers.matching import match_pixels


@dataclass
class MatchingState:
    """What a round starts from, and what it leaves to the next.

    Queries of all images are packed, M in all.

    Args:
        queries: R^l. Shape (M, C).
        logits: H^l, their raw matching maps. Shape (M, h, w).
        pixels: The projected F. Shape (B, C, h, w).
        image_index: The image of each query, ascending. Shape (M, ).
        slots: The place of each query among those of its text, from 0. Shape (M, ).
        levels: Further maps of the neck, fine to coarse, each (B, C, h_i, w_i); they cover the
            canvas, as F does.
        geometries: How each image lies on the canvas, B of them; None where nobody needs it.
        memory: The pixels of all levels in a row, row-major, one level after the other. Shape
            (B, S, C). None without levels.
    """

    queries: Tensor
    logits: Tensor
    pixels: Tensor
    image_index: Tensor
    slots: Tensor
    levels: tuple[Tensor, ...] = ()
    geometries: tuple[Geometry, ...] | None = None
    memory: Tensor | None = None

    def padding(self, shape: tuple[int, int]) -> Tensor:
        """Cells of a map over the canvas whose centre is not on the image.

        Args:
            shape: Size (h', w') of the map.

        Returns:
            Boolean. Shape (B, h', w').
        """
        valid = torch.stack([geometry.valid_cells(shape) for geometry in self.geometries])
        return ~valid.to(self.pixels.device)


@MODELS.register_module()
class MatchingRound(BaseModule):
    """One round: refine the queries by pixels, then match anew.

    Eq. 10 of `PPMN <https://doi.org/10.1145/3503161.3548086>`_ and the paragraph before its Eq. 16.
    Rounds do not share weights: each projects the head's pixels anew (1x1 convolution, GroupNorm,
    ReLU), never those of the round before, and maps its queries by a perceptron with three
    hidden layers before the match. DRMN's official code has the same rounds.

    Args:
        channels: Channels C.
        refinement: Config of the part that refines the queries, such as :class:`LCPA`. It takes a
            :class:`MatchingState` and returns queries.
        norm_cfg: Normalisation of the pixel projection.
        shared_context: Whether the refinement sees the pixels as all rounds share them, and not
            this round's projection of them.
        num_hidden: Hidden layers of the perceptron.
    """

    def __init__(
        self,
        channels: int,
        refinement: dict,
        norm_cfg: dict,
        shared_context: bool = False,
        num_hidden: int = 3,
    ) -> None:
        super().__init__()
        self.shared_context = shared_context
        self.pixel_proj = PlainConvModule(channels, channels, 1, norm_cfg=norm_cfg)
        self.refinement = MODELS.build(dict(channels=channels, **refinement))
        layers = []
        for _ in range(num_hidden):
            layers += [
                nn.Linear(channels, channels, bias=False),
                nn.LayerNorm(channels),
                nn.ReLU(inplace=True),
            ]
        self.query_mlp = nn.Sequential(*layers, nn.Linear(channels, channels))

    @property
    def max_queries(self) -> int | None:
        """Queries of a text that the refinement can tell apart; None if it has no limit."""
        return self.refinement.max_queries

    def forward(self, state: MatchingState) -> MatchingState:
        """Refine and match.

        Args:
            state: What the round before left.

        Returns:
            The same with R^{l+1} and H^{l+1}.
        """
        projected = self.pixel_proj(state.pixels)
        seen = state if self.shared_context else replace(state, pixels=projected)
        queries = self.refinement(seen)
        logits = match_pixels(self.query_mlp(queries), projected, state.image_index)
        return replace(state, queries=queries, logits=logits)
