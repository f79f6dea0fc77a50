import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmground.registry import MODELS

from ..layers.matching import adaptive_max_pixels, gather_pixels, smooth_logits, top_pixels
from .matching_round import MatchingState

SELECTIONS = {'topk': top_pixels, 'adaptive_max_pool': adaptive_max_pixels}


@MODELS.register_module()
class LCPA(BaseModule):
    """Language-compatible pixel aggregation: one round's refinement of the queries.

    Sec. 3.3 of `PPMN <https://doi.org/10.1145/3503161.3548086>`_. Each query picks S pixels
    of its image that match it well and aggregates them. By default it has the official code's
    form; where the paper's differs:

    - the pixels are the top S of the previous logits; ``selection='adaptive_max_pool'`` is the
      paper's (Eq. 11);
    - the selection sees these logits smoothed; with ``smooth=False`` as they are.

    Selection runs over the padded canvas, as in the official code, and takes no gradient.

    Args:
        channels: Channels C of queries and pixels.
        num_points: S, the pixels of each query; all of them where the map has fewer.
        smooth: Whether the selection sees the maps as they are after an upsampling by two
            and a downsampling back, as between two rounds of the official code.
        selection: ``'topk'``, the S best pixels, or ``'adaptive_max_pool'``, the best pixel of
            each of S bins of the map, see
            :func:`~mmground.models.layers.matching.adaptive_max_pixels`.
        aggregation: Config of the part that aggregates them, such as
            :class:`~mmground.models.heads.MCA`, the default; it also gets ``channels``.
        init_cfg: Initialisation of the whole part.

    Raises:
        ValueError: If there is no such ``selection``, or no point to select.
    """

    # Queries of a text, of which there may be any number.
    max_queries = None

    def __init__(
        self,
        channels: int = 256,
        num_points: int = 200,
        smooth: bool = True,
        selection: str = 'topk',
        aggregation: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if selection not in SELECTIONS:
            raise ValueError(f'selection must be one of {sorted(SELECTIONS)}, got {selection!r}')
        if num_points < 1:
            raise ValueError(
                f'num_points must be at least 1, got {num_points}; for a head that aggregates no '
                'pixel, set its num_rounds=0'
            )
        self.num_points = num_points
        self.smooth = smooth
        self.selection = selection
        self.aggregation = MODELS.build(dict(channels=channels, **(aggregation or {'type': 'MCA'})))

    def forward(self, state: MatchingState) -> Tensor:
        """Refine the queries, Eqs. 11-15.

        Args:
            state: R and H of the round before, and the features to aggregate as its ``pixels``, a
                projection of F.

        Returns:
            R of the next round. Shape (M, C).
        """
        index = self.select(state.logits)
        context = gather_pixels(state.pixels, index, state.image_index)
        return self.aggregation(state.queries, context)

    @torch.no_grad()
    def select(self, logits: Tensor) -> Tensor:
        """Positions of each query's language-compatible pixels, Eq. 11.

        Args:
            logits: Shape (M, h, w).

        Returns:
            Row-major positions on the map, in no particular order. Shape (M, S).
        """
        logits = logits.float()
        if self.smooth:
            logits = smooth_logits(logits)
        return SELECTIONS[self.selection](logits, self.num_points)
