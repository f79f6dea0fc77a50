"""Pictures of how PBREC finds an expression: its point scores, and what is proposed there."""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from mmground.structures import GroundingDataSample, phrase_boxes, phrase_masks

from .panels import (
    check_image,
    colour_bar,
    grey_image,
    panel_page,
    pixel_extent,
    render_figure,
    set_title,
)

_HEAT = 'inferno'
_SCORE_NAMES = {'rec': 'center-ness', 'res': 'mass-ness'}
_OTHER, _FIRST, _FINAL, _TRUTH = 'red', 'blue', 'lime', 'yellow'


def draw_point_maps(image: np.ndarray, sample: GroundingDataSample) -> np.ndarray:
    """Where a model looks for an expression: [CLS] attention, center-ness and mass-ness.

    As Fig. 4 (a) of `PBREC <https://github.com/VILAN-Lab/PBREC-MT>`_. Each map is drawn on a scale
    from 0 to its largest value on the image; a ring marks the best point of a task.

    Args:
        image: The original image, RGB, (H, W, 3) uint8.
        sample: An expression with what :meth:`PointGroundingHead.predict` gives. Without
            ``cls_attention``, or scores of a task, the panel is left out. The annotation is drawn
            where there is one.

    Returns:
        RGB, uint8, (height, width, 3).

    Raises:
        ValueError: If the image is not the sample's, or there are no point scores.
    """
    predicted = sample.pred_phrases
    tasks = [task for task in _SCORE_NAMES if f'point_scores_{task}' in predicted]
    if not tasks:
        raise ValueError(f'sample {sample.get("sample_id")!r} has no point scores to draw')
    maps = [(None, predicted.cls_attention)] if 'cls_attention' in predicted else []
    maps += [(task, predicted[f'point_scores_{task}']) for task in tasks]
    figure, panels = _page(image, sample, len(maps))
    grey = grey_image(image, 0.9)
    colors = ScalarMappable(Normalize(0, 1), _HEAT)
    for axes, (task, scores) in zip(panels, maps, strict=True):
        values = sample.geometry.inverse_masks(scores.float())[0].cpu().numpy()
        largest = max(float(values.max()), 1e-12)
        heat = colors.to_rgba(values / largest)[..., :3] * 255
        blended = (0.4 * grey + 0.6 * heat).astype(np.uint8)
        axes.imshow(blended, extent=pixel_extent(image))
        if task is None:
            share = f'{float(scores.sum()):.0%} of it on the points'
            set_title(axes, f'[CLS] attention, largest {largest:.2g}\n{share}')
            continue
        point = predicted[f'points_{task}'][0].tolist()
        for color, width in (('black', 3.0), ('white', 1.5)):
            axes.plot(*point, 'o', ms=9, mfc='none', mec=color, mew=width)
        grid = ' x '.join(str(side) for side in scores.shape[-2:])
        set_title(axes, f'{_SCORE_NAMES[task]}, largest {largest:.2g}\n{grid} points')
    colour_bar(figure, colors, "value / the map's largest")
    return render_figure(figure)


def draw_proposals(image: np.ndarray, sample: GroundingDataSample) -> np.ndarray:
    """The candidates for an expression, and which of them is the result.

    As Fig. 4 (b) of `PBREC <https://github.com/VILAN-Lab/PBREC-MT>`_: the proposals of the k best
    points are red, that of the best point is blue, and the one that overlaps most with the others,
    which is the result, is green. Where these two are one, it is green with blue dashes.

    Args:
        image: The original image, RGB, (H, W, 3) uint8.
        sample: An expression with the candidates that :class:`PointLocalisation` keeps, of boxes,
            masks or both. The annotation is drawn where there is one.

    Returns:
        RGB, uint8, (height, width, 3).

    Raises:
        ValueError: If the image is not the sample's, or there are no candidates.
    """
    predicted = sample.pred_phrases
    kinds = [kind for kind in ('box', 'mask') if f'{kind}_candidates' in predicted]
    if not kinds:
        raise ValueError(f'sample {sample.get("sample_id")!r} has no candidates to draw')
    figure, panels = _page(image, sample, len(kinds))
    backdrop = grey_image(image, 0.8).astype(np.uint8)
    for axes, kind in zip(panels, kinds, strict=True):
        axes.imshow(backdrop, extent=pixel_extent(image))
        found = predicted[f'{kind}_candidates'][0].cpu().numpy()
        choice = int(predicted[f'{kind}_choice'][0])
        outline = _outline_box if kind == 'box' else _outline_mask
        for own in found[:0:-1]:
            outline(axes, own, _OTHER, 1.0)
        if choice:
            outline(axes, found[0], _FIRST, 2.0)
        outline(axes, found[choice], _FINAL, 2.0)
        if not choice:
            outline(axes, found[0], _FIRST, 2.0, 'dashed')
        scores = predicted[f'{kind}_candidate_scores'][0]
        result = f'the result is number {choice + 1}, score {float(scores[choice]):.2g}'
        plural = 'boxes' if kind == 'box' else 'masks'
        set_title(axes, f'{len(found)} {plural}, best score {float(scores[0]):.2g}\n{result}')
    names = {_OTHER: 'top k', _FIRST: 'top 1', _FINAL: 'result'}
    if _annotation(sample):
        names[_TRUTH] = 'annotation'
    # Room for the legend.
    figure.set_figheight(figure.get_figheight() + 0.4)
    figure.legend(
        handles=[Line2D([], [], color=color, lw=2, label=name) for color, name in names.items()],
        loc='outside lower center',
        ncols=len(names),
        fontsize=8.5,
        frameon=False,
    )
    return render_figure(figure)


def missing_point_pictures(sample: GroundingDataSample) -> dict[str, str]:
    """Which pictures a model has no part for.

    Args:
        sample: Any expression with its prediction, candidates kept.

    Returns:
        By ``'proposals'``, of :func:`draw_proposals`, why it cannot be drawn; empty if it can.
    """
    predicted = sample.pred_phrases
    if 'box_candidates' in predicted or 'mask_candidates' in predicted:
        return {}
    return {'proposals': 'the model has no proposals to draw: it has no localisers'}


def _page(image: np.ndarray, sample: GroundingDataSample, count: int) -> tuple[Figure, list[Axes]]:
    check_image(image, sample)
    title = textwrap.shorten(sample.text, 120, placeholder=' ...')
    figure, panels = panel_page(image, count, f'"{title}"')
    annotation = _annotation(sample)
    for kind, regions in annotation.items():
        for own in regions:
            (_outline_box if kind == 'box' else _outline_mask)(figure.axes[0], own, _TRUTH, 1.5)
    if annotation:
        set_title(figure.axes[0], 'image and annotation')
    return figure, panels


def _annotation(sample: GroundingDataSample) -> dict[str, np.ndarray]:
    """What the expression refers to: a box, a mask, both or nothing known."""
    if 'gt_regions' not in sample or not len(sample.links):
        return {}
    regions, links = sample.gt_regions, sample.links
    found: dict[str, Tensor] = {}
    if 'bboxes' in regions:
        found['box'] = phrase_boxes(regions.bboxes, links, 1)
    if 'masks' in regions:
        found['mask'] = phrase_masks(regions.masks, links, 1)
    return {kind: own.cpu().numpy() for kind, own in found.items()}


def _outline_box(axes: Axes, box: np.ndarray, color: str, width: float, style='solid') -> None:
    left, top, right, bottom = box
    axes.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, ec=color, lw=width, ls=style)
    )


def _outline_mask(axes: Axes, mask: np.ndarray, color: str, width: float, style='solid') -> None:
    if not mask.any():
        return
    # A frame of background closes the outline at the border of the image.
    framed = np.pad(mask.astype(float), 1)
    rows, columns = (np.arange(size) - 0.5 for size in framed.shape)
    axes.contour(columns, rows, framed, [0.5], colors=color, linewidths=width, linestyles=style)
