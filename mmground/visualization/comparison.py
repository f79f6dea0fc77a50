"""Several systems' masks of the same phrase, side by side."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from mmengine.structures import InstanceData

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
    if image.shape != (*sample.ori_shape, 3) or image.dtype != np.uint8:
        raise ValueError(
            f'the image of sample {sample.sample_id!r} must be RGB, uint8, of the size '
            f'{tuple(sample.ori_shape)}, got {image.dtype} {image.shape}'
        )
    figure, panels = panel_page(
        image, 1 + len(predictions), sample.phrases[phrase].get('text', sample.text)
    )
    truth, count = sample.gt_regions, len(sample.phrases)
    mask = box = None
    if 'masks' in truth:
        mask = phrase_masks(truth.masks, sample.links, count)[phrase].numpy()
    else:
        box = phrase_boxes(truth.bboxes, sample.links, count)[phrase].tolist()
    _show(panels[0], image, mask, box)
    set_title(panels[0], 'ground truth')
    for axes, (name, own) in zip(panels[1:], predictions.items(), strict=True):
        mask = own.masks[phrase].numpy() if 'masks' in own else None
        box = own.bboxes[phrase].tolist() if mask is None else None
        _show(axes, image, mask, box)
        set_title(axes, '\n'.join(filter(None, (name, (notes or {}).get(name)))))
    return render_figure(figure)


def _show(axes: Axes, image: np.ndarray, mask: np.ndarray | None, box: list[float] | None) -> None:
    """The image in grey, with the mask in colour or the box (xyxy) on it."""
    shown = grey_image(image, 0.9)
    if mask is not None:
        shown[mask] = 0.4 * image[mask] + 0.6 * np.array(_COLOR)
    axes.imshow(shown.astype(np.uint8), extent=pixel_extent(image))
    if box is not None:
        left, top, right, bottom = box
        color = np.array(_COLOR) / 255
        axes.add_patch(
            Rectangle((left, top), right - left, bottom - top, fill=False, ec=color, lw=2)
        )
