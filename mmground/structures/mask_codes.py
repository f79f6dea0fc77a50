"""Compact forms of masks: COCO run-length codes and polygons."""

from collections.abc import Sequence
from math import isfinite
from numbers import Real

import numpy as np
from pycocotools import mask as coco_mask
from torch import Tensor


def encode_masks(masks: Tensor | np.ndarray) -> list[dict]:
    """Masks as COCO run-length codes (RLE) that JSON can hold.

    Args:
        masks: Boolean, shape (N, H, W).

    Returns:
        Per mask ``size``, (H, W), and ``counts``, COCO's compressed string.
    """
    masks = masks.cpu().numpy() if isinstance(masks, Tensor) else np.asarray(masks)
    if masks.dtype != bool or masks.ndim != 3:
        raise ValueError(f'masks must be boolean (N, H, W), got {masks.dtype} {masks.shape}')
    codes = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8))
    return [
        dict(size=[int(side) for side in code['size']], counts=code['counts'].decode('ascii'))
        for code in codes
    ]


def decode_mask(code: dict | Sequence, shape: tuple[int, int]) -> np.ndarray:
    """The mask that a COCO annotation stands for.

    Args:
        code: A run-length code, ``{'size': [height, width], 'counts': ...}`` with the
            compressed string or the list of counts; polygons: a list of
            ``[x1, y1, x2, y2, ...]`` in pixels of the image, whose union is the mask; or a
            list of run-length codes, whose union is the mask.
        shape: (height, width) of the image.

    Returns:
        Boolean, shape (height, width).

    Raises:
        ValueError: If it is neither, is damaged, or is of another size.

    Example:
        >>> decode_mask({'size': [2, 3], 'counts': [2, 3, 1]}, (2, 3)).astype(int)
        array([[0, 1, 1],
               [0, 1, 0]])
    """
    if isinstance(code, dict):
        return _decode_rle(code, shape)
    if _is_list_of_codes(code):
        return decode_masks(code, shape).any(0)
    if isinstance(code, Sequence) and not isinstance(code, str):
        return coco_mask.decode(_merge_polygons(code, shape)).astype(bool)
    raise ValueError(
        "a mask is a run-length code {'size': ..., 'counts': ...} or a list of polygons, got a "
        f'{type(code).__name__}'
    )


def mask_area(code: dict | Sequence, shape: tuple[int, int]) -> int:
    """Number of pixels of a mask; for polygons without drawing it.

    Args:
        code: See :func:`decode_mask`.
        shape: (height, width) of the image.

    Raises:
        ValueError: As :func:`decode_mask`.

    Example:
        >>> mask_area([[0, 0, 3, 0, 3, 2, 0, 2]], (5, 5))
        6
    """
    if isinstance(code, Sequence) and not isinstance(code, str) and not _is_list_of_codes(code):
        return int(coco_mask.area(_merge_polygons(code, shape)))
    return int(decode_mask(code, shape).sum())


def _is_list_of_codes(code) -> bool:
    return isinstance(code, Sequence) and bool(code) and isinstance(code[0], dict)


def decode_masks(codes: Sequence[dict | Sequence], shape: tuple[int, int]) -> np.ndarray:
    """Several masks of one image, see :func:`decode_mask`. Boolean, shape (N, height, width)."""
    masks = np.zeros((len(codes), *shape), dtype=bool)
    for mask, code in zip(masks, codes, strict=True):
        mask[:] = decode_mask(code, shape)
    return masks


def _decode_rle(code: dict, shape: tuple[int, int]) -> np.ndarray:
    if 'size' not in code or 'counts' not in code:
        raise ValueError(f"a run-length code has 'size' and 'counts', got the keys {sorted(code)}")
    height, width = shape
    if tuple(code['size']) != (height, width):
        raise ValueError(
            f'the run-length code is of size {tuple(code["size"])} (height, width), but the image '
            f'of {(height, width)}'
        )
    counts = code['counts']
    counts = _parse_counts(counts) if isinstance(counts, str | bytes) else np.asarray(counts)
    # pycocotools leaves memory as it finds it where the counts end early.
    whole = counts.ndim == 1 and np.issubdtype(counts.dtype, np.integer)
    if not whole or (counts < 0).any() or counts.sum() != height * width:
        raise ValueError(
            f'the counts of the run-length code do not add up to the {height * width} pixels of '
            f'the image of {height} x {width}'
        )
    foreground = np.arange(len(counts)) % 2 == 1
    # Runs go down the columns.
    return np.repeat(foreground, counts).reshape(width, height).T


def _parse_counts(text: str | bytes) -> np.ndarray:
    """COCO's compressed string: numbers in groups of five bits, lowest first, a bit per
    group for "more follows", the last group signed; from the fourth number on, a number is
    the difference to the one before the last."""
    raw = text.encode('latin-1', 'replace') if isinstance(text, str) else text
    groups = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - 48
    last = groups & 32 == 0
    if not len(groups) or not last[-1] or ((groups < 0) | (groups > 63)).any():
        raise ValueError('the counts are no run-length code of COCO')
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    place = np.arange(len(groups)) - np.repeat(starts, np.diff([*starts, len(groups)]))
    if place.max() > 10:
        raise ValueError('the counts are no run-length code of COCO')
    numbers = np.add.reduceat((groups & 31) << 5 * place, starts)
    negative = groups[last] & 16 != 0
    numbers -= np.where(negative, 1 << 5 * (place[last] + 1), 0)
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers


def _merge_polygons(polygons: Sequence, shape: tuple[int, int]) -> dict:
    """The run-length code of the union of polygons."""
    check_polygons(polygons)
    codes = coco_mask.frPyObjects([[float(c) for c in polygon] for polygon in polygons], *shape)
    return coco_mask.merge(codes)


def check_polygons(polygons: Sequence) -> None:
    """Refuse what is not a non-empty list of polygons ``[x1, y1, x2, y2, ...]``.

    Raises:
        ValueError: If there is no polygon, or one has fewer than three points, an odd number
            of coordinates, or something else than finite numbers.
    """
    if not polygons:
        raise ValueError('the list of polygons is empty')
    for polygon in polygons:
        if (
            not isinstance(polygon, Sequence)
            or isinstance(polygon, str)
            or len(polygon) < 6
            or len(polygon) % 2
            or not all(isinstance(c, Real) and isfinite(c) for c in polygon)
        ):
            raise ValueError(
                'a polygon is a list [x1, y1, x2, y2, ...] of at least three points, got '
                f'{str(polygon)[:80]}'
            )
