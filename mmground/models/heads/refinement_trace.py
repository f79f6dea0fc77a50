"""What a head of the phrase-pixel family looks at while it refines its queries."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mmground.structures import Geometry, GroundingDataSample

from ..layers.deform_layer import DeformLayer
from ..layers.matching import pad_by_image
from .phrase_pixel_head import PhrasePixelHead
from .phrase_queries import PhraseQueries


@dataclass
class RoundRecord:
    """What M queries looked at in a round. None stands for what the round does not have.

    Args:
        positions: The selected pixels, row-major on ``grid``. Shape (M, k), int64.
        grid: Size (h, w) of the map they were selected on; it covers the canvas.
        weights: Cross-attention weights of these pixels, mean over heads. Shape (M, k).
        locations: Where their deformable attention samples, xy with (0, 0) the top left and (1, 1)
            the bottom right corner of the canvas. Shape (M, k, heads, levels, points, 2).
        location_weights: Weights of the samples; those of a pixel and head sum to one over levels
            and points. Shape (M, k, heads, levels, points).
        levels: Size (h, w) of each sampled level.
    """

    positions: Tensor | None = None
    grid: tuple[int, int] | None = None
    weights: Tensor | None = None
    locations: Tensor | None = None
    location_weights: Tensor | None = None
    levels: tuple[tuple[int, int], ...] = ()

    def of_queries(self, members: Tensor) -> 'RoundRecord':
        """The record of some queries, on the CPU.

        Args:
            members: True for these queries. Shape (M, ), bool.
        """
        tensors = {
            name: value[members].cpu()
            for name, value in vars(self).items()
            if torch.is_tensor(value)
        }
        return RoundRecord(**{**vars(self), **tensors})


@dataclass
class RefinementRecord:
    """What a forward pass of a head left.

    Args:
        queries: The packed queries, M in all.
        maps: Raw matching maps H^0 .. H^L, each (M, h, w).
        rounds: One record per round.
    """

    queries: PhraseQueries | None = None
    maps: list[Tensor] = field(default_factory=list)
    rounds: list[RoundRecord] = field(default_factory=list)


@contextmanager
def record_refinement(head: PhrasePixelHead) -> Iterator[RefinementRecord]:
    """Record the forward passes of a head while the context is open.

    The head itself does no more than always: hooks see what its parts get. Recorded are, of each
    round's ``refinement``, as far as it has them:

    - what ``select`` returned: :class:`LCPA`, :class:`DeformableRefinement`;
    - ``attention_weights`` of ``aggregation.attention``: :class:`MCA`;
    - ``sampling`` of the :class:`~mmground.models.layers.deform_layer.DeformLayer` ``layer``.

    Args:
        head: The head. Contexts of one head must not overlap.

    Yields:
        A record that each forward pass fills anew.

    Example:
        >>> with record_refinement(model.head) as record:
        ...     model.test_step(batch)
        >>> record.rounds[0].positions.shape
        torch.Size([7, 200])
    """
    record = RefinementRecord()

    def begin(module: nn.Module, inputs: tuple) -> None:
        record.rounds[:] = [RoundRecord() for _ in head.rounds]

    def end(module: nn.Module, inputs: tuple, maps: list[Tensor]) -> None:
        feats, record.queries = inputs
        record.maps[:] = maps
        for own in record.rounds:
            if own.locations is None:
                continue
            # The deformable layer had the pixels of all queries of an image in a row.
            place = pad_by_image([], record.queries.image_index, len(feats[0]))[1]
            count = own.positions.shape[1]
            own.locations, own.location_weights = (
                tensor.unflatten(1, (-1, count))[place]
                for tensor in (own.locations, own.location_weights)
            )

    with ExitStack() as stack:
        stack.callback(head.register_forward_pre_hook(begin).remove)
        stack.callback(head.register_forward_hook(end).remove)
        for index, matching_round in enumerate(head.rounds):
            _watch(matching_round, index, record.rounds, stack)
        yield record


def _watch(
    matching_round: nn.Module, index: int, rounds: list[RoundRecord], stack: ExitStack
) -> None:
    """Have a round fill its record; what undoes that is left to the stack."""
    refinement = getattr(matching_round, 'refinement', None)
    select = getattr(refinement, 'select', None)
    if select is None:
        return

    # No module of its own that a hook could watch. To select once more would not do: the order of
    # equal logits need not be the same, and the weights are in this order.
    def recorded_select(source):
        positions = select(source)
        rounds[index].positions = positions
        chosen_on = source if torch.is_tensor(source) else refinement.source(source)
        rounds[index].grid = tuple(chosen_on.shape[-2:])
        return positions

    refinement.select = recorded_select
    stack.callback(delattr, refinement, 'select')

    @torch.no_grad()
    def keep_weights(attention: nn.Module, inputs: tuple) -> None:
        rounds[index].weights = attention.attention_weights(*inputs).mean(1)

    attention = getattr(getattr(refinement, 'aggregation', None), 'attention', None)
    if hasattr(attention, 'attention_weights'):
        stack.callback(attention.register_forward_pre_hook(keep_weights).remove)

    @torch.no_grad()
    def keep_sampling(attention: nn.Module, inputs: tuple) -> None:
        query, _, reference_points, shapes, *_ = inputs
        own = rounds[index]
        own.locations, own.location_weights = attention.sampling(query, reference_points, shapes)
        own.levels = tuple(tuple(shape) for shape in shapes)

    layer = getattr(refinement, 'layer', None)
    if isinstance(layer, DeformLayer):
        stack.callback(layer.attention.register_forward_pre_hook(keep_sampling).remove)


@dataclass
class ImagePoints:
    """Points on an original image.

    Args:
        points: xy in pixels of the image; outside of it where they lie on the padding or beyond the
            canvas. Shape (K, 2).
        weights: Shape (K, ); None where they have none.
        cell: Width and height, in pixels of the image, of a cell of the map.
        stride: Rows of the network input that a cell covers.
    """

    points: Tensor
    weights: Tensor | None
    cell: tuple[float, float]
    stride: int


@dataclass
class RefinementTrace:
    """The refinement of the phrases of one text, on the original image.

    A phrase has one query per word piece that the text encoder reads, or one in all where the
    head makes it so. Phrases, rounds and the queries of a phrase are numbered from 0.

    Args:
        sample: The text, its phrases and its place on the canvas.
        phrase_index: The phrase of each query. Shape (Q, ).
        maps: Raw matching maps H^0 .. H^L. Shape (L + 1, Q, h, w).
        rounds: What the Q queries looked at, L rounds.
        query: What a query is, a ``'piece'`` or a ``'phrase'``.
        threshold: The probability above which a pixel is foreground.
        pool: :meth:`PhrasePixelHead.predict_by_feat` of the head.
    """

    sample: GroundingDataSample
    phrase_index: Tensor
    maps: Tensor
    rounds: tuple[RoundRecord, ...]
    query: str
    threshold: float
    pool: Callable[[Tensor, Tensor, int], Tensor]

    @property
    def has_points(self) -> bool:
        """Whether there are rounds, and all of them select pixels."""
        return bool(self.rounds) and all(own.positions is not None for own in self.rounds)

    @property
    def has_sampling(self) -> bool:
        """Whether there are rounds, and all of them sample around their pixels (DRMN)."""
        return bool(self.rounds) and all(own.locations is not None for own in self.rounds)

    def queries_of(self, phrase: int, query: int | None = None) -> Tensor:
        """The queries of a phrase.

        Args:
            phrase: The phrase.
            query: One of its queries; None takes all.

        Returns:
            Indices into the Q queries. Shape (q, ).

        Raises:
            ValueError: If there is no such phrase or query, or if the phrase has no query because
                the model reads no piece of it.
        """
        phrases = self.sample.phrases
        where = f'sample {self.sample.get("sample_id")!r}'
        if not 0 <= phrase < len(phrases):
            raise ValueError(f'{where} has {len(phrases)} phrases, there is no index {phrase}')
        own = (self.phrase_index == phrase).nonzero()[:, 0]
        text = phrases[phrase]['text']
        if not len(own):
            raise ValueError(
                f'the model reads no piece of the phrase {text!r} of {where}: shorten the text, '
                'or leave the phrase out'
            )
        if query is None:
            return own
        if not 0 <= query < len(own):
            raise ValueError(
                f'the phrase {text!r} of {where} has {len(own)} queries, there is no index {query}'
            )
        return own[query : query + 1]

    def probabilities(self, phrase: int) -> Tensor:
        """Response of a phrase after each round, pooled over its queries as the head does.

        Args:
            phrase: The phrase.

        Returns:
            Probabilities of H^0 .. H^L. Shape (L + 1, ori_h, ori_w).
        """
        maps = self.maps[:, self.queries_of(phrase)]
        group = torch.zeros(maps.shape[1], dtype=torch.int64)
        pooled = torch.cat([self.pool(own, group, 1) for own in maps])
        return self.sample.geometry.inverse_masks(pooled)

    def selected(self, phrase: int, index: int, query: int | None = None) -> ImagePoints:
        """The pixels that a phrase selected in a round, each once.

        Args:
            phrase: The phrase.
            index: The round; negative ones count from the last.
            query: One query of the phrase, or None: the pixels of all of them, with the mean of
                their weights, for which a query that did not select a pixel counts as zero.

        Returns:
            Centres of the pixels, with their weights (which sum to one), lightest first.

        Raises:
            ValueError: If the round selects no pixels.
        """
        own = self.rounds[index]
        if own.positions is None:
            raise ValueError('this refinement selects no pixels')
        members = self.queries_of(phrase, query)
        positions, place = own.positions[members].unique(return_inverse=True)
        points = torch.stack((positions % own.grid[1], positions // own.grid[1]), -1) + 0.5
        points = points / torch.tensor(own.grid[::-1])
        weights = None
        if own.weights is not None:
            weights = own.weights.new_zeros(len(positions))
            weights.index_add_(0, place.flatten(), own.weights[members].flatten())
            weights, order = (weights / len(members)).sort()
            points = points[order]
        return self._on_image(points, weights, own.grid)

    def sampled(
        self, phrase: int, index: int = -1, num: int = 50, query: int | None = None
    ) -> list[ImagePoints]:
        """Where the selected pixels of a phrase sample most in a round, by deformable attention.

        Args:
            phrase: The phrase.
            index: The round; negative ones count from the last.
            num: Samples of each level, those with the highest weight in the deformable attention
                among all of the phrase's pixels, heads and points.
            query: One query of the phrase; None takes all.

        Returns:
            For each level the samples and their weights, lightest first.

        Raises:
            ValueError: If the round samples nothing, or ``num`` is less than 1.
        """
        own = self.rounds[index]
        if own.locations is None:
            raise ValueError('this refinement has no deformable attention')
        if num < 1:
            raise ValueError(f'num must be at least 1, got {num}')
        members = self.queries_of(phrase, query)
        # To (levels, all samples of the level).
        locations = own.locations[members].movedim(3, 0).flatten(1, 4)
        weights = own.location_weights[members].movedim(3, 0).flatten(1)
        result = []
        for level, shape in enumerate(own.levels):
            order = weights[level].argsort(stable=True)[-num:]
            result.append(self._on_image(locations[level, order], weights[level, order], shape))
        return result

    def _on_image(
        self, points: Tensor, weights: Tensor | None, grid: tuple[int, int]
    ) -> ImagePoints:
        geometry: Geometry = self.sample.geometry
        height, width = geometry.canvas_shape
        cell_x, cell_y = width / grid[1], height / grid[0]
        scale_x, scale_y = geometry.scale_xy
        return ImagePoints(
            geometry.inverse_points(points * torch.tensor([width, height])),
            weights,
            (cell_x / scale_x, cell_y / scale_y),
            round(cell_y),
        )


@torch.no_grad()
def trace_refinement(model: nn.Module, batch: dict) -> list[RefinementTrace]:
    """Run a model on a batch and keep how it refined its queries.

    For every model with a :class:`PhrasePixelHead`: DRMN, PPMN and their variants. It runs in
    the mode that it is in; with dropout, in training mode, what is traced is not what it predicts.

    Args:
        model: The model, such as of :func:`~mmground.apis.init_model`.
        batch: What ``model.test_step`` takes: ``inputs`` and ``data_samples``.

    Returns:
        One trace per data sample, on the CPU.

    Raises:
        ValueError: If the model has another head.

    Example:
        >>> (trace,) = trace_refinement(model, batch)
        >>> trace.probabilities(0).shape  # of the first phrase after 0, 1, 2 and 3 rounds
        torch.Size([4, 480, 640])
        >>> trace.selected(0, -1).points.shape  # of the last round
        torch.Size([200, 2])
    """
    head = getattr(model, 'head', None)
    if not isinstance(head, PhrasePixelHead):
        raise ValueError(
            'a refinement can be traced in models with a PhrasePixelHead, such as PPMN and DRMN; '
            f'the head of this {type(model).__name__} is {type(head).__name__}'
        )
    data = model.data_preprocessor(batch, False)
    with record_refinement(head) as record:
        model(**data, mode='tensor')
    traces, first = [], 0
    maps = torch.stack(record.maps)
    for sample, count in zip(data['data_samples'], record.queries.counts, strict=True):
        index = record.queries.phrase_index
        members = (index >= first) & (index < first + count)
        traces.append(
            RefinementTrace(
                sample,
                index[members].cpu() - first,
                maps[:, members].float().cpu(),
                tuple(own.of_queries(members) for own in record.rounds),
                head.query,
                head.test_cfg['threshold'],
                head.predict_by_feat,
            )
        )
        first += count
    return traces
