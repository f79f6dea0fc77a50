import torch
from torch import Tensor


def pixel_position_code(
    height: int, width: int, channels: int, device: torch.device | str | None = None
) -> Tensor:
    """Sine code of a map's pixel coordinates, as in the official DRMN.

    Unlike mmdet's ``SinePositionalEncoding`` it counts from 0, has x before y, and is never
    normalised by the size of the map.

    Args:
        height: Rows of the map.
        width: Columns.
        channels: Channels C: half of them for x, half for y, where sine and cosine of one
            frequency stand next to each other.
        device: Device of the result.

    Returns:
        Shape (C, height, width).

    Raises:
        ValueError: If the channels are no multiple of 4.
    """
    if channels % 4:
        raise ValueError(f'a sine code of x and y needs a multiple of 4 channels, got {channels}')
    half = channels // 2
    x = sequence_position_code(width, half, device).T[:, None].expand(-1, height, -1)
    y = sequence_position_code(height, half, device).T[:, :, None].expand(-1, -1, width)
    return torch.cat((x, y))


def sequence_position_code(
    length: int, channels: int, device: torch.device | str | None = None
) -> Tensor:
    """Sine code of the places in a sequence, from 0 (`Attention Is All You Need
    <https://arxiv.org/abs/1706.03762>`_, Sec. 3.5).

    Args:
        length: Places L.
        channels: Channels C, where sine and cosine of one frequency stand next to each other.
        device: Device of the result.

    Returns:
        Shape (L, C).

    Raises:
        ValueError: If the number of channels is odd.
    """
    if channels % 2:
        raise ValueError(f'a sine code needs an even number of channels, got {channels}')
    pair = torch.arange(0, channels, 2, dtype=torch.float32, device=device)
    frequencies = 10000 ** (-pair / channels)
    angles = torch.arange(length, dtype=torch.float32, device=device)[:, None] * frequencies
    return torch.stack((angles.sin(), angles.cos()), 2).flatten(1)
