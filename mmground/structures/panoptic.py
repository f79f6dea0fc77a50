"""From a mask per phrase to one panoptic segmentation: each pixel in one segment at most.

Panoptic narrative grounding is named after this output, but its metric scores every phrase
by itself and the published systems stop there. Here the phrases of a text compete for pixels.
"""

import numpy as np
import torch
from torch import Tensor


def merge_panoptic(
    probs: Tensor, threshold: float = 0.5, iou_threshold: float = 0.8
) -> tuple[Tensor, list[dict]]:
    """Merge the probability maps of a text's phrases into a panoptic segmentation.

    A phrase's mask is where its probability exceeds the threshold. Phrases whose masks
    overlap by at least ``iou_threshold`` name the same region ("a dog" ... "it") and share a
    segment; so do phrases that a chain of such overlaps connects, hence the order of the
    phrases does not matter. A pixel goes to the segment of the phrase that is most probable
    there, of equals to the first, and to none where no phrase exceeds the threshold.

    Args:
        probs: Probability of each phrase at each pixel, in [0, 1]. Shape (N, H, W).
        threshold: The probability that a phrase must exceed to have a pixel, in [0, 1).
        iou_threshold: The IoU of masks from which on phrases share a segment, in (0, 1].

    Returns:
        - Map of segment ids, int32, shape (H, W), 0 where there is no segment.
        - The segments in the order of their first phrases, with the ids 1, 2, ... Each is a
          dict of ``id``; ``phrases``, the indices of its phrases, ascending; ``area``, its
          pixels; ``bbox``, xyxy around them (pixel i covers [i, i + 1)); and ``score``, the
          mean over its pixels of the winning probability.

        A phrase is in no segment if its mask is empty, or if all of its pixels went to more
        probable phrases.

    Raises:
        TypeError: If ``probs`` is not floating-point.
        ValueError: If ``probs`` is not (N, H, W) or a threshold is out of its range.

    Example:
        >>> probs = torch.tensor([[[.9, .6, .1]], [[.1, .7, .2]]])
        >>> segment_map, segments = merge_panoptic(probs)
        >>> segment_map
        tensor([[1, 2, 0]], dtype=torch.int32)
        >>> [segment['phrases'] for segment in segments]
        [[0], [1]]
    """
    if not probs.is_floating_point():
        raise TypeError(f'probs must be probabilities, got {probs.dtype}')
    if probs.ndim != 3:
        raise ValueError(f'probs must be (N, H, W), got {tuple(probs.shape)}')
    if not 0 <= threshold < 1 or not 0 < iou_threshold <= 1:
        raise ValueError(
            'threshold must be in [0, 1) and iou_threshold in (0, 1], got '
            f'{threshold} and {iou_threshold}'
        )
    if len(probs) == 0:
        return probs.new_zeros(probs.shape[1:], dtype=torch.int32), []
    masks = probs > threshold
    group = _overlap_groups(masks, iou_threshold)
    best, winner = probs.max(0).values, probs.argmax(0)
    owner = torch.where(masks.any(0), group[winner], -1)
    # Groups without a pixel of their own are gone from here on.
    kept, segment_map = owner.unique(return_inverse=True)
    if kept[0] == -1:
        kept = kept[1:]
    else:
        segment_map = segment_map + 1
    boxes = _boxes(segment_map, len(kept))
    areas = torch.bincount(segment_map.flatten(), minlength=len(kept) + 1)[1:]
    sums = best.new_zeros(len(kept) + 1, dtype=torch.float64)
    sums.index_add_(0, segment_map.flatten(), best.flatten().double())
    members = (group == kept[:, None]) & masks.flatten(1).any(1)
    segments = [
        dict(
            id=index + 1,
            phrases=members[index].nonzero().flatten().tolist(),
            area=area,
            bbox=box,
            score=score,
        )
        for index, (area, box, score) in enumerate(
            zip(areas.tolist(), boxes.tolist(), (sums[1:] / areas).tolist(), strict=True)
        )
    ]
    return segment_map.int(), segments


def segment_phrase_masks(segment_map: Tensor, segments: list[dict], num_phrases: int) -> Tensor:
    """What is left of each phrase's mask in a panoptic segmentation.

    Args:
        segment_map: Map of segment ids, shape (H, W), see :func:`merge_panoptic`.
        segments: Its segments, with ``id`` (above 0) and ``phrases``.
        num_phrases: Number of phrases, N.

    Returns:
        Boolean masks, shape (N, H, W): the whole segment for each of its phrases, nothing
        for a phrase that is in none.
    """
    ids = segment_map.new_full((num_phrases,), -1)
    for segment in segments:
        ids[segment['phrases']] = segment['id']
    return segment_map == ids[:, None, None]


def encode_segment_ids(ids: np.ndarray) -> np.ndarray:
    """Panoptic ids as the colours of a COCO panoptic PNG: ``id = R + 256 G + 65536 B``.

    Args:
        ids: Non-negative ids below 2**24, (H, W).

    Returns:
        RGB, uint8, (H, W, 3).
    """
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


def decode_segment_ids(colors: np.ndarray) -> np.ndarray:
    """The inverse of :func:`encode_segment_ids`.

    Args:
        colors: RGB, uint8, (H, W, 3).

    Returns:
        Ids, int32, (H, W).
    """
    # In place: at the size of a photo, a temporary array costs more than the arithmetic.
    ids = colors[..., 2].astype(np.int32)
    for channel in (1, 0):
        ids *= 256
        ids += colors[..., channel]
    return ids


def _overlap_groups(masks: Tensor, iou_threshold: float) -> Tensor:
    """Connected components of phrases whose masks overlap. Shape (N, ).

    Each phrase gets the index of the first phrase of its component.
    """
    # Sums of 0 and 1 are exact in float32 up to 2**24 pixels.
    flat = masks.flatten(1).float()
    areas = flat.sum(1)
    intersections = flat @ flat.T
    unions = areas[:, None] + areas - intersections
    # NaN, of two empty masks, links nothing.
    linked = intersections.double() / unions.double() >= iou_threshold
    group = torch.arange(len(masks), device=masks.device)
    while True:
        # Each phrase takes over the smallest label among itself and its neighbours.
        smallest = torch.where(linked, group, len(masks)).amin(1).minimum(group)
        if torch.equal(smallest, group):
            return group
        group = smallest


def _boxes(segment_map: Tensor, count: int) -> Tensor:
    """xyxy around the segments 1 .. count. Shape (count, 4), float64."""
    height, width = segment_map.shape
    rows, columns = torch.meshgrid(
        torch.arange(height, device=segment_map.device),
        torch.arange(width, device=segment_map.device),
        indexing='ij',
    )
    index = segment_map.flatten()
    sides = []
    for place, reduce in ((columns, 'amin'), (rows, 'amin'), (columns, 'amax'), (rows, 'amax')):
        side = place.new_zeros(count + 1)
        side.scatter_reduce_(0, index, place.flatten(), reduce, include_self=False)
        sides.append(side[1:] + (reduce == 'amax'))
    return torch.stack(sides, dim=1).double()
