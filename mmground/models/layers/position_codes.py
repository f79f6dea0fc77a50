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
    pair = torch.arange(0, half, 2, dtype=torch.float32, device=device)
    frequencies = 10000 ** (-pair / half)

    def code(size: int) -> Tensor:
        angles = frequencies[:, None] * torch.arange(size, dtype=torch.float32, device=device)
        return torch.stack((angles.sin(), angles.cos()), 1).flatten(0, 1)

    x = code(width)[:, None].expand(-1, height, -1)
    y = code(height)[:, :, None].expand(-1, -1, width)
    return torch.cat((x, y))
