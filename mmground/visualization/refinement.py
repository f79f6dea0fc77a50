"""Pictures of how a head of the phrase-pixel family refines its queries."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection
from matplotlib.colors import Normalize

from .panels import (
    check_image,
    colour_bar,
    grey_image,
    panel_page,
    pixel_extent,
    render_figure,
    set_title,
)

if TYPE_CHECKING:
    # The pictures need what a trace offers, not the models that leave it.
    from mmground.models.heads.refinement_trace import ImagePoints, RefinementTrace

_HEAT = 'inferno'
_WEIGHT = 'plasma'


def draw_response_maps(image: np.ndarray, trace: 'RefinementTrace', phrase: int) -> np.ndarray:
    """Where a phrase responds, before the first round and after each.

    As Fig. 6 of `DRMN <https://arxiv.org/abs/2310.16616>`_: a heat map of the probabilities of
    each of H^0 .. H^L, on one scale from 0 to 1, with the outline of what would be predicted.

    Args:
        image: The original image, RGB, (H, W, 3) uint8.
        trace: The refinement of a text about it.
        phrase: Index of the phrase.

    Returns:
        RGB, uint8, (height, width, 3).

    Raises:
        ValueError: If the image is not the trace's, or there is no such phrase, or it has no query.
    """
    check_image(image, trace.sample)
    probs = trace.probabilities(phrase).numpy()
    count = len(trace.queries_of(phrase))
    pooled = f', pooled over its {count} pieces' if trace.query == 'piece' and count > 1 else ''
    figure, panels = panel_page(image, len(probs), f'{_name(trace, phrase)}: probability{pooled}')
    grey = grey_image(image, 0.9)
    colors = ScalarMappable(Normalize(0, 1), _HEAT)
    for level, (axes, prob) in enumerate(zip(panels, probs, strict=True)):
        heat = colors.to_rgba(prob)[..., :3] * 255
        axes.imshow((0.4 * grey + 0.6 * heat).astype(np.uint8), extent=pixel_extent(image))
        found = prob > trace.threshold
        if found.any() and not found.all() and min(prob.shape) > 1:
            # Given by its centres: pixel i covers [i, i + 1).
            rows, columns = (np.arange(size) + 0.5 for size in prob.shape)
            for color, width in (('black', 2.4), ('white', 1.2)):
                axes.contour(columns, rows, prob, [trace.threshold], colors=color, linewidths=width)
        share = f'{found.mean():.1%} above {trace.threshold:g}'
        when = f'after round {level}' if level else 'first matching'
        set_title(axes, f'{when}\n{share}')
    colour_bar(figure, colors, 'probability')
    return render_figure(figure)


def draw_selected_points(
    image: np.ndarray, trace: 'RefinementTrace', phrase: int, query: int | None = None
) -> np.ndarray:
    """Which pixels a phrase selects in each round, coloured by their cross-attention weight.

    As Fig. 7 of `DRMN <https://arxiv.org/abs/2310.16616>`_: weights are the mean over heads, and
    lighter is more, relative to the largest weight of the round. A disc has the size of a
    pixel of the map. Where the aggregation has no attention, all discs have one colour.

    Args:
        image: The original image, RGB, (H, W, 3) uint8.
        trace: The refinement of a text about it.
        phrase: Index of the phrase.
        query: Index of one of its queries; None draws the pixels of all, with the mean of their
            weights.

    Returns:
        RGB, uint8, (height, width, 3).

    Raises:
        ValueError: If the image is not the trace's, the model selects no pixels, or there is no
            such phrase or query.
    """
    check_image(image, trace.sample)
    if not trace.has_points:
        raise ValueError(_no_points(trace))
    rounds = [trace.selected(phrase, index, query) for index in range(len(trace.rounds))]
    title = f'{_name(trace, phrase)}: selected pixels{_which_query(trace, phrase, query)}'
    figure, panels = panel_page(image, len(rounds), title)
    backdrop = grey_image(image, 0.55).astype(np.uint8)
    weighted = True
    for index, (axes, own) in enumerate(zip(panels, rounds, strict=True), 1):
        axes.imshow(backdrop, extent=pixel_extent(image))
        lines = [f'round {index}', f'{len(own.points)} pixels of stride {own.stride}']
        lines += _outside(image, own)
        if own.weights is None:
            weighted = False
            style = dict(facecolors='tab:orange')
        else:
            largest = own.weights.max().item()
            lines.append(f'largest weight {largest:.2g}')
            style = dict(array=own.weights.numpy() / largest, cmap=_WEIGHT, norm=Normalize(0, 1))
        axes.add_collection(_discs(axes, own, 0.85, **style))
        set_title(axes, '\n'.join(lines))
    if weighted:
        colors = ScalarMappable(Normalize(0, 1), _WEIGHT)
        colour_bar(figure, colors, "weight / the round's largest")
    return render_figure(figure)


def draw_sampling_points(
    image: np.ndarray,
    trace: 'RefinementTrace',
    phrase: int,
    query: int | None = None,
    num: int = 50,
    index: int = -1,
) -> np.ndarray:
    """Where the selected pixels of a phrase look around, level by level.

    As Fig. 8 of `DRMN <https://arxiv.org/abs/2310.16616>`_: of each level the samples with the
    highest weight in the deformable attention, lighter is more; and, as small white dots, the
    selected pixels that they belong to.

    Args:
        image: The original image, RGB, (H, W, 3) uint8.
        trace: The refinement of a text about it.
        phrase: Index of the phrase.
        query: Index of one of its queries; None draws the samples of all.
        num: Samples of each level; all, where there are fewer.
        index: The round; negative ones count from the last.

    Returns:
        RGB, uint8, (height, width, 3).

    Raises:
        IndexError: If there is no such round.
        ValueError: If the image is not the trace's, the model has no deformable attention, there
            is no such phrase or query, or ``num`` is less than 1.
    """
    check_image(image, trace.sample)
    if not trace.has_sampling:
        raise ValueError(_no_sampling(trace))
    levels = trace.sampled(phrase, index, num, query)
    selected = trace.selected(phrase, index, query)
    number = range(1, len(trace.rounds) + 1)[index]
    which = _which_query(trace, phrase, query)
    title = f'{_name(trace, phrase)}: samples of its pixels in round {number}{which}'
    figure, panels = panel_page(image, len(levels), title)
    backdrop = grey_image(image, 0.55).astype(np.uint8)
    largest = max(own.weights.max().item() for own in levels)
    for level, (axes, own) in enumerate(zip(panels, levels, strict=True), 1):
        axes.imshow(backdrop, extent=pixel_extent(image))
        axes.scatter(*selected.points.T.numpy(), s=3, c='white', alpha=0.5, linewidths=0)
        axes.scatter(
            *own.points.T.numpy(),
            s=16,
            c=own.weights.numpy(),
            cmap=_WEIGHT,
            norm=Normalize(0, largest),
            linewidths=0.4,
            edgecolors='black',
        )
        lines = [f'level {level} of stride {own.stride}', f'top {len(own.points)} samples']
        set_title(axes, '\n'.join([*lines, *_outside(image, own)]))
    colors = ScalarMappable(Normalize(0, largest), _WEIGHT)
    colour_bar(figure, colors, 'attention weight')
    return render_figure(figure)


def missing_pictures(trace: 'RefinementTrace') -> dict[str, str]:
    """Which pictures a model has no part for.

    Args:
        trace: The refinement of any text by the model.

    Returns:
        By ``'points'``, of :func:`draw_selected_points`, and ``'sampling'``, of
        :func:`draw_sampling_points`, why it cannot be drawn; empty if all can.
    """
    missing = {}
    if not trace.has_points:
        missing['points'] = _no_points(trace)
    if not trace.has_sampling:
        missing['sampling'] = _no_sampling(trace)
    return missing


def _no_points(trace: 'RefinementTrace') -> str:
    reason = 'its refinement selects no pixels' if trace.rounds else 'it has no rounds'
    return f'the model has no selected pixels to draw: {reason}'


def _no_sampling(trace: 'RefinementTrace') -> str:
    reason = 'its refinement has no deformable attention' if trace.rounds else 'it has no rounds'
    return f'the model has no samples to draw: {reason}'


def _name(trace: 'RefinementTrace', phrase: int) -> str:
    text = textwrap.shorten(trace.sample.phrases[phrase]['text'], 60, placeholder=' ...')
    return f'{phrase + 1} "{text}"'


def _which_query(trace: 'RefinementTrace', phrase: int, query: int | None) -> str:
    """What of a phrase is drawn, for the title."""
    count = len(trace.queries_of(phrase))
    if trace.query == 'phrase' or count == 1:
        return ''
    return f', all {count} pieces' if query is None else f', piece {query + 1} of {count}'


def _discs(axes: Axes, own: 'ImagePoints', share: float, **style) -> EllipseCollection:
    """Discs that cover a share of the width and height of their cells."""
    width, height = (side * share for side in own.cell)
    return EllipseCollection(
        width,
        height,
        0,
        units='xy',
        offsets=own.points.numpy(),
        offset_transform=axes.transData,
        linewidths=0,
        **style,
    )


def _outside(image: np.ndarray, own: 'ImagePoints') -> Sequence[str]:
    """A remark on points that the picture cannot show."""
    size = np.array(image.shape[1::-1])
    points = own.points.numpy()
    count = int(((points < 0) | (points > size)).any(1).sum())
    return [f'{count} of them outside the image'] if count else []
