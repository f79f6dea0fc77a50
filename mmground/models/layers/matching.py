"""Pixel-phrase matching and pixel selection on packed queries.

Queries of all images of a batch stand in one packed list, ``(M, C)``, with the
image of each, ``(M, )``. Neither queries nor feature maps are padded or copied.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def match_pixels(queries: Tensor, pixels: Tensor, image_index: Tensor) -> Tensor:
    """Raw matching maps: the dot product of every query with the pixels of its image.

    Eq. 2 of PPMN, without bias or scale.

    Args:
        queries: Packed queries, those of one image next to each other. Shape (M, C).
        pixels: Feature maps. Shape (B, C, h, w).
        image_index: The image of each query, ascending. Shape (M, ).

    Returns:
        Logits. Shape (M, h, w).
    """
    counts = torch.bincount(image_index, minlength=len(pixels)).tolist()
    maps = [
        own @ image.flatten(1)
        for own, image in zip(queries.split(counts), pixels, strict=True)
        if len(own)
    ]
    height, width = pixels.shape[-2:]
    if not maps:
        return queries.new_zeros((0, height, width))
    return torch.cat(maps).unflatten(-1, (height, width))


def smooth_logits(logits: Tensor) -> Tensor:
    """Smooth maps as an upsampling by two and a downsampling back would.

    Both bilinear without aligned corners, as between two rounds of the official
    PPMN; together they are the kernel [1/8, 3/4, 1/8] along each axis with
    replicated borders.

    Args:
        logits: Shape (M, h, w).

    Returns:
        Shape (M, h, w).
    """
    padded = F.pad(logits[:, None], (1, 1, 1, 1), mode='replicate')[:, 0]
    rows = 0.75 * padded[:, 1:-1] + 0.125 * (padded[:, :-2] + padded[:, 2:])
    return 0.75 * rows[..., 1:-1] + 0.125 * (rows[..., :-2] + rows[..., 2:])


def top_pixels(logits: Tensor, num: int) -> Tensor:
    """Positions of the pixels with the highest logits, as the official PPMN selects.

    Args:
        logits: Shape (M, h, w).
        num: S, pixels per map; all of them where a map has fewer.

    Returns:
        Row-major positions, in no particular order. Shape (M, min(S, h * w)).
    """
    logits = logits.flatten(1)
    return logits.topk(min(num, logits.shape[1]), sorted=False).indices


def adaptive_max_pixels(logits: Tensor, num: int) -> Tensor:
    """Positions of the highest logit in each of S bins of a map.

    Eq. 11 of PPMN, an adaptive max pooling that returns its indices. The paper does not say
    how S bins lie on the map; here the map is flattened, and a bin is a run of
    about ``h * w / S`` consecutive pixels in row-major order, so that the pixels
    are spread over the whole map.

    Args:
        logits: Shape (M, h, w).
        num: S, bins of a map; one per pixel where a map has fewer pixels.

    Returns:
        Row-major positions. Shape (M, min(S, h * w)). Bins overlap by a pixel where S does
        not divide the size of the map, so that a position may occur twice.
    """
    logits = logits.flatten(1)
    size = min(num, logits.shape[1])
    return F.adaptive_max_pool1d(logits[:, None], size, return_indices=True)[1][:, 0]


def gather_pixels(pixels: Tensor, index: Tensor, image_index: Tensor) -> Tensor:
    """Features of selected pixels of each query's image.

    Args:
        pixels: Feature maps. Shape (B, C, h, w).
        index: Row-major positions on the map. Shape (M, S), int64.
        image_index: The image of each query. Shape (M, ).

    Returns:
        Shape (M, S, C).
    """
    size = pixels.shape[-2] * pixels.shape[-1]
    rows = pixels.flatten(2).transpose(1, 2).reshape(-1, pixels.shape[1])
    return F.embedding(index + image_index[:, None] * size, rows)


def pad_by_image(
    tensors: Sequence[Tensor], image_index: Tensor, num_images: int
) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    """Give packed queries a row per image, as modules need that want a rectangle.

    Args:
        tensors: Each of shape (M, ...).
        image_index: The image of each query, ascending. Shape (M, ).
        num_images: B.

    Returns:
        - Each of shape (B, N, ...), N being the queries of the fullest image; zero where
          an image has fewer.
        - The place of each query in them: indexing with it packs again.
    """
    counts = torch.bincount(image_index, minlength=num_images)
    starts = counts.cumsum(0) - counts
    columns = torch.arange(len(image_index), device=image_index.device) - starts[image_index]
    place = (image_index, columns)
    if num_images == 1:
        return [own[None] for own in tensors], place
    longest = int(counts.max())
    padded = [own.new_zeros((num_images, longest, *own.shape[1:])) for own in tensors]
    return [empty.index_put(place, own) for empty, own in zip(padded, tensors, strict=True)], place
