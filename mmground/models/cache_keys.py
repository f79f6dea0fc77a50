"""What stored results of frozen parts are known by: the weights, and the images."""

import hashlib
import json

import torch
from torch import Tensor, nn

from mmground.structures import Geometry


def image_key(canvas: Tensor, geometry: Geometry) -> str:
    """What an image on its canvas is known by: its pixels and its place.

    Args:
        canvas: The image as it is, whole numbers from 0 to 255. Shape (3, H, W).
        geometry: Where it lies on the canvas.

    Returns:
        A hash.
    """
    rows, columns = geometry.image_area
    pixels = canvas[:, rows, columns].round().to(torch.uint8).contiguous().cpu()
    place = (tuple(geometry.img_shape), tuple(geometry.offset), tuple(geometry.canvas_shape))
    digest = hashlib.blake2b(json.dumps(place).encode(), digest_size=16)
    digest.update(pixels.numpy())
    return digest.hexdigest()


def fingerprint(module: nn.Module, settings: dict) -> str:
    """A hash of a module's weights and of the settings that shape what it computes.

    Args:
        module: The module.
        settings: Data that JSON can hold, or whose ``str`` tells it apart.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
