"""What an expression refers to, on the canvas that the network sees."""

import torch
from torch import Tensor

from mmground.structures import Geometry, GroundingDataSample, phrase_boxes, phrase_masks


def check_one_phrase(sample: GroundingDataSample) -> None:
    """Raise a ValueError if a sample is no referring expression."""
    if len(sample.phrases) != 1:
        raise ValueError(
            f'sample {sample.sample_id!r} has {len(sample.phrases)} phrases: a referring '
            'expression is one phrase, its whole text'
        )


def referred_box(sample: GroundingDataSample) -> Tensor:
    """The box around all regions that a sample's expression refers to.

    Args:
        sample: With ``gt_regions.bboxes`` and at least one of ``links``.

    Returns:
        xyxy in pixels of the canvas. Shape (4, ).

    Raises:
        ValueError: If the box has no area there.
    """
    box = sample.geometry.boxes(phrase_boxes(sample.gt_regions.bboxes, sample.links, 1))[0]
    if not (box[:2] < box[2:]).all():
        raise ValueError(
            f'sample {sample.sample_id!r}: the referred box is {box.tolist()} on the canvas '
            '(xyxy), which is empty; correct the annotation'
        )
    return box


def referred_mask(sample: GroundingDataSample) -> Tensor:
    """The union of all regions that a sample's expression refers to.

    It is resized from the original image, bilinearly; the official code of PBREC scales the polygon
    and rasterises it on the canvas, which a run-length code does not allow. It is never empty: of a
    region so small that it vanishes where the image is made smaller, the pixels are marked on which
    it falls.

    Args:
        sample: With ``gt_regions.masks`` and at least one of ``links``.

    Returns:
        On the canvas, bool. Shape (H, W).

    Raises:
        ValueError: If it has no pixel there, such as outside the crop.
    """
    geometry: Geometry = sample.geometry
    mask = phrase_masks(sample.gt_regions.masks, sample.links, 1)
    on_canvas = geometry.masks(mask)[0] > 0.5
    if not on_canvas.any():
        # A few pixels can vanish where the image is made smaller: each falls on one at least.
        rows, columns = mask[0].nonzero().unbind(1)
        x, y = geometry.points(torch.stack((columns, rows), 1) + 0.5).long().unbind(1)
        height, width = geometry.canvas_shape
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        if not inside.any():
            raise ValueError(
                f'sample {sample.sample_id!r}: the referred mask has no pixel on the canvas; '
                'correct the annotation, or leave the sample out'
            )
        on_canvas[y[inside], x[inside]] = True
    return on_canvas
