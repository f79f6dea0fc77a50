import warnings

import torch
import torch.nn.functional as F
from mmdet.models.layers import SinePositionalEncoding
from mmengine.model import BaseModule
from torch import Tensor

from mmground.registry import MODELS

from ..layers.deform_layer import DeformLayer
from ..layers.deformable_attention import pixel_centres
from ..layers.matching import gather_pixels, pad_by_image, top_pixels
from .matching_round import MatchingState


@MODELS.register_module()
class DeformableRefinement(BaseModule):
    """DRMN's refinement of the queries: their pixels first look around, then are aggregated.

    Sec. III-D of `DRMN <https://github.com/JaMesLiMers/DRMN>`_, lines 18-23 of its Alg. 1. Each
    query picks the k pixels of its image that match it best; these attend, by deformable
    attention, to the encoded levels of the pyramid around them; and the query aggregates the
    result by cross-attention. By default it has the official code's form; where the paper's
    differs:

    - the pixels are those of an encoded level, of stride 16, and selected on its grid, by the
      mean of the logits that a cell covers; with ``level=None`` they are those of F, of
      stride 8 (Alg. 1);
    - a pixel is told its query's slot, see :func:`slot_encoding`; with ``position='pixel'`` its
      place on the map (line 21);
    - the query comes in as the residual of the deformable layer; where the layer has a residual of
      its own, it is added to its pixels before (line 21).

    Selection takes no gradient. All runs over the padded canvas, as in the official code, unless
    ``ignore_padding``.

    Args:
        channels: Channels C of queries and pixels.
        num_points: k, the pixels of each query; all of them, with a warning, where the map has
            fewer.
        level: The level whose pixels are taken, an index of the levels behind F, of which F's
            resolution must be a multiple; None takes the pixels of F.
        position: What a pixel is told, the ``'slot'`` of its query or its place, ``'pixel'``.
        max_seg_num: Slots of a text. The encoding depends on their number, so weights are bound to
            it. Queries behind take no part. None, and no limit, with ``position='pixel'``.
        ignore_padding: Whether padding is left out: it is not selected, nothing is sampled from
            it, and a place is relative to the image and not to the canvas. Where an image has
            fewer than k pixels of its own, padding fills up.
        layer: Settings of the :class:`~mmground.models.layers.deform_layer.DeformLayer`.
        aggregation: Config of the part that aggregates the pixels, such as
            :class:`~mmground.models.heads.MCA`, the default; it also gets ``channels``.
        init_cfg: Initialisation of the whole part.

    Raises:
        ValueError: If there is no such ``position``, no point to select, or if ``max_seg_num`` is
            no even number.
    """

    def __init__(
        self,
        channels: int = 256,
        num_points: int = 100,
        level: int | None = 2,
        position: str = 'slot',
        max_seg_num: int | None = 64,
        ignore_padding: bool = False,
        layer: dict | None = None,
        aggregation: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if position not in ('slot', 'pixel'):
            raise ValueError(f"position must be 'slot' or 'pixel', got {position!r}")
        if num_points < 1:
            raise ValueError(f'num_points must be at least 1, got {num_points}')
        if position == 'slot' and (not max_seg_num or max_seg_num % 2):
            raise ValueError(f'max_seg_num must be an even number of slots, got {max_seg_num}')
        self.num_points = num_points
        self.level = level
        self.ignore_padding = ignore_padding
        self.max_queries = max_seg_num if position == 'slot' else None
        self.pixel_position = None
        if position == 'pixel':
            self.pixel_position = SinePositionalEncoding(channels // 2, normalize=True)
        else:
            table = slot_encoding(max_seg_num, channels)
            self.register_buffer('slot_position', table, persistent=False)
        self.layer = DeformLayer(channels, **(layer or {}))
        self.aggregation = MODELS.build(dict(channels=channels, **(aggregation or {'type': 'MCA'})))

    def forward(self, state: MatchingState) -> Tensor:
        """Refine the queries.

        Args:
            state: Queries, their maps, and the encoded levels as its ``levels``.

        Returns:
            The refined queries. Shape (M, C).
        """
        source = self.source(state)
        index = self.select(state)
        pixels = gather_pixels(source, index, state.image_index)
        return self.aggregation(state.queries, self.look_around(pixels, index, state))

    def source(self, state: MatchingState) -> Tensor:
        """The map whose pixels are taken. Shape (B, C, h', w')."""
        return state.pixels if self.level is None else state.levels[self.level]

    @torch.no_grad()
    def select(self, state: MatchingState) -> Tensor:
        """Positions of the k best pixels of each query, line 18.

        Args:
            state: Its ``logits`` decide.

        Returns:
            Row-major positions on the map of :meth:`source`, in no particular order. Shape (M, k).
        """
        logits, shape = state.logits.float(), self.source(state).shape[-2:]
        if logits.shape[-2:] != shape:
            # What an upsampling by two and a downsampling by four give.
            scale = logits.shape[-2] // shape[0]
            logits = F.avg_pool2d(logits[:, None], scale)[:, 0]
        if self.ignore_padding:
            padding = state.padding(tuple(shape))[state.image_index]
            logits = logits.masked_fill(padding, -torch.inf)
        if self.num_points > shape.numel():
            warnings.warn(
                f'each phrase takes all {shape.numel()} pixels of the map, fewer than '
                f'num_points={self.num_points}',
                stacklevel=2,
            )
        return top_pixels(logits, self.num_points)

    def look_around(self, pixels: Tensor, index: Tensor, state: MatchingState) -> Tensor:
        """Encode selected pixels by what is around them on all levels, lines 21-22.

        Args:
            pixels: Features of the selected pixels. Shape (M, k, C).
            index: Their positions, of :meth:`select`. Shape (M, k).
            state: With the queries, and the encoded levels that are attended to.

        Returns:
            Shape (M, k, C).
        """
        shape = tuple(self.source(state).shape[-2:])
        if self.pixel_position is None:
            pixels = pixels + self.slot_position[state.slots][:, None]
        else:
            pixels = pixels + gather_pixels(
                self._places(shape, state).to(pixels.dtype), index, state.image_index
            )
        queries = state.queries[:, None].expand_as(pixels)
        inputs = [pixel_centres([shape], pixels.device)[index]]
        if self.layer.residual == 'identity':
            inputs += [pixels, queries]
        else:
            inputs += [pixels + queries]

        # The layer wants a rectangle: the pixels of all queries of an image in a row.
        padded, place = pad_by_image(inputs, state.image_index, len(state.pixels))
        centres, pixels, *identity = (own.flatten(1, 2) for own in padded)
        shapes = [tuple(level.shape[-2:]) for level in state.levels]
        padding = None
        if self.ignore_padding:
            padding = torch.cat([state.padding(level).flatten(1) for level in shapes], 1)
        output = self.layer(
            pixels,
            state.memory,
            centres,
            shapes,
            identity=identity[0] if identity else None,
            padding_mask=padding,
        )
        return output.unflatten(1, padded[0].shape[1:3])[place]

    def _places(self, shape: tuple[int, int], state: MatchingState) -> Tensor:
        """Codes of the places on each image. Shape (B, C, h', w')."""
        if self.ignore_padding:
            return self.pixel_position(state.padding(shape).to(torch.uint8))
        num_images = len(state.pixels)
        code = self.pixel_position(state.pixels.new_zeros((1, *shape)))
        return code.expand(num_images, -1, -1, -1)


def slot_encoding(num_slots: int, channels: int) -> Tensor:
    """The official code's code of a slot.

    A sinusoid whose axes are swapped: the channel stands where a position would, and the slot n of
    S where the channel would. The value is ``sin(c / 10000^(n / S))`` for even n and
    ``cos(c / 10000^((n - 1) / S))`` for odd n, so that it depends on S too.

    Args:
        num_slots: S, even.
        channels: C.

    Returns:
        Shape (S, C).
    """
    slots, places = torch.arange(num_slots), torch.arange(channels, dtype=torch.float64)
    angle = places / 10000 ** ((slots - slots % 2) / num_slots).double()[:, None]
    return torch.where(slots[:, None] % 2 == 0, angle.sin(), angle.cos()).float()
