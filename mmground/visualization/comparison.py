"""Several systems' masks of the same phrase, side by side."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from mmengine.structures import InstanceData

from mmground.evaluation.functional import mask_iou
from mmground.structures import GroundingDataSample, phrase_boxes, phrase_masks

from .panels import grey_image, panel_page, pixel_extent, render_figure, set_title

_COLOR = (230, 60, 40)


def draw_comparison(
    image: np.ndarray,
    sample: GroundingDataSample,
    phrase: int,
    predictions: Mapping[str, InstanceData],
    notes: Mapping[str, str] | None = None,
) -> np.ndarray:
    """A phrase's ground truth, and beside it what each system finds.

    As Figs. 3 and 4 of `JMCELN <https://aclanthology.org/2023.emnlp-main.481/>`_.

    Args:
        image: The original image, RGB, (H, W, 3) uint8.
        sample: The sample, with ``gt_regions`` and ``links``.
        phrase: Index of the phrase.
        predictions: By the name of each system its ``pred_phrases``. Boxes are drawn where it has
            no masks.
        notes: By name, what its title says besides.

    Returns:
        RGB, uint8, (height, width, 3).

    Raises:
        ValueError: If the image is not the sample's.
    """
    panels = {}
    for name, own in predictions.items():
        title = '\n'.join(filter(None, (name, (notes or {}).get(name))))
        mask = own.masks[phrase].numpy() if 'masks' in own else None
        panels[title] = (mask, own.bboxes[phrase].tolist() if mask is None else None)
    return _draw(image, sample, phrase, panels)


def draw_stage_masks(image: np.ndarray, sample: GroundingDataSample) -> np.ndarray:
    """An expression's mask before the first stage of a cascade and after each.

    Args:
        image: The original image, RGB, (H, W, 3) uint8.
        sample: An expression with what :meth:`ContextualCascadeHead.predict` gives with
            ``keep_stages``. The annotation is drawn where there is one, and masks get their IoU
            with it.

    Returns:
        RGB, uint8, (height, width, 3).

    Raises:
        ValueError: If the image is not the sample's, or there are no masks of stages.
    """
    if 'stage_masks' not in sample.pred_phrases:
        raise ValueError(
            f'sample {sample.sample_id!r} has no masks of stages: set keep_stages=True in '
            'model.head.test_cfg'
        )
    masks = sample.pred_phrases.stage_masks[0].cpu()
    titles = ['before the stages', *(f'stage {number}' for number in range(1, len(masks)))]
    if 'gt_regions' in sample and 'masks' in sample.gt_regions:
        target = phrase_masks(sample.gt_regions.masks, sample.links, 1).cpu()
        ious = mask_iou(masks, target.expand_as(masks))
        titles = [f'{title}\nIoU {iou:.2f}' for title, iou in zip(titles, ious, strict=True)]
    panels = {title: (mask.numpy(), None) for title, mask in zip(titles, masks, strict=True)}
    return _draw(image, sample, 0, panels)


def _draw(
    image: np.ndarray,
    sample: GroundingDataSample,
    phrase: int,
    panels: Mapping[str, tuple[np.ndarray | None, list[float] | None]],
) -> np.ndarray:
    """The image, a phrase's ground truth if there is one, and by its title a mask or a box."""
    if image.shape != (*sample.ori_shape, 3) or image.dtype != np.uint8:
        raise ValueError(
            f'the image of sample {sample.sample_id!r} must be RGB, uint8, of the size '
            f'{tuple(sample.ori_shape)}, got {image.dtype} {image.shape}'
        )
    if 'gt_regions' in sample:
        truth, count, mask, box = sample.gt_regions, len(sample.phrases), None, None
        if 'masks' in truth:
            mask = phrase_masks(truth.masks, sample.links, count)[phrase].cpu().numpy()
        else:
            box = phrase_boxes(truth.bboxes, sample.links, count)[phrase].tolist()
        panels = {'ground truth': (mask, box), **panels}
    text = sample.phrases[phrase].get('text', sample.text)
    figure, all_axes = panel_page(image, len(panels), text)
    for axes, (title, (mask, box)) in zip(all_axes, panels.items(), strict=True):
        _show(axes, image, mask, box)
        set_title(axes, title)
    return render_figure(figure)


def _show(axes: Axes, image: np.ndarray, mask: np.ndarray | None, box: list[float] | None) -> None:
    """The image in grey, with the mask in colour or the box (xyxy) on it."""
    shown = grey_image(image, 0.9)
    if mask is not None:
        # Over the grey: of a coloured thing the tint would be another colour.
        shown[mask] = 0.4 * shown[mask] + 0.6 * np.array(_COLOR)
    axes.imshow(shown.astype(np.uint8), extent=pixel_extent(image))
    if box is not None:
        left, top, right, bottom = box
        color = np.array(_COLOR) / 255
        axes.add_patch(
            Rectangle((left, top), right - left, bottom - top, fill=False, ec=color, lw=2)
        )
