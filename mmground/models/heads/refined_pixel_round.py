from dataclasses import dataclass

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmground.registry import MODELS

from ..layers.matching import gather_pixels, match_pixels
from .matching_round import MatchingState


@dataclass
class RefinedPixelState(MatchingState):
    """A state with pixels that each query has for itself.

    Args:
        refined: The pixels that each earlier round refined, oldest first: their positions on F, (M,
            k), and their features, (M, k, C).
    """

    refined: tuple[tuple[Tensor, Tensor], ...] = ()


@MODELS.register_module()
class RefinedPixelRound(BaseModule):
    """A round of DRMN's paper: refined pixels stay, and are matched in place of those of F.

    Lines 18-25 of Alg. 1 of `DRMN <https://github.com/JaMesLiMers/DRMN>`_. The algorithm goes
    through the phrases one by one, and what a phrase writes into F the next one reads. Here all
    phrases go at once: each is matched with F in which only its own pixels are replaced, those of
    all rounds up to this one. F is never copied: the logits of replaced pixels are computed apart
    and written into the map.

    There is no projection in a round: queries and pixels are matched as they are (line 25).

    Args:
        channels: Channels C.
        refinement: Config of a :class:`DeformableRefinement` with ``level=None``.
        norm_cfg: Not needed: there is nothing to normalise. It is here because all rounds get it.

    Raises:
        ValueError: If the refinement takes other pixels than those of F.
    """

    def __init__(self, channels: int, refinement: dict, norm_cfg: dict | None = None) -> None:
        super().__init__()
        self.refinement = MODELS.build(dict(channels=channels, **refinement))
        if self.refinement.level is not None:
            raise ValueError(
                'RefinedPixelRound replaces pixels of F, so its refinement must take them from '
                f'there: set refinement.level=None, not {self.refinement.level}'
            )

    @property
    def max_queries(self) -> int | None:
        """Queries of a text that the refinement can tell apart; None if it has no limit."""
        return self.refinement.max_queries

    def forward(self, state: MatchingState) -> RefinedPixelState:
        """Refine pixels and queries, and match.

        Args:
            state: What the round before left.

        Returns:
            The same with new queries, maps and refined pixels.
        """
        earlier = getattr(state, 'refined', ())
        index = self.refinement.select(state)
        pixels = gather_pixels(state.pixels, index, state.image_index)
        for old_index, old_pixels in earlier:
            pixels = take_refined(pixels, index, old_index, old_pixels)
        pixels = self.refinement.look_around(pixels, index, state)
        queries = self.refinement.aggregation(state.queries, pixels)
        refined = (*earlier, (index, pixels))

        logits = match_pixels(queries, state.pixels, state.image_index).flatten(1)
        for own_index, own_pixels in refined:
            own_logits = torch.einsum('mc,mkc->mk', queries, own_pixels).to(logits.dtype)
            logits = logits.scatter(1, own_index, own_logits)
        changes = dict(queries=queries, logits=logits.view_as(state.logits), refined=refined)
        return RefinedPixelState(**vars(state) | changes)


def take_refined(pixels: Tensor, index: Tensor, old_index: Tensor, old_pixels: Tensor) -> Tensor:
    """Replace features of pixels that were refined before.

    Args:
        pixels: Features of pixels. Shape (M, k, C).
        index: Their positions. Shape (M, k).
        old_index: Positions of the refined pixels, each once. Shape (M, k').
        old_pixels: Their features. Shape (M, k', C).

    Returns:
        Shape (M, k, C).
    """
    same = index[:, :, None] == old_index[:, None]
    found, place = same.max(-1)
    rows = place[..., None].expand(-1, -1, pixels.shape[-1])
    return torch.where(found[..., None], old_pixels.gather(1, rows), pixels)
