import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mmground.structures import Geometry
from mmground.utils.checkpoint import read_pickled

from .proposals import BoxProposals


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


def fingerprint(detector: nn.Module, settings: dict) -> str:
    """A hash of a detector's weights and of the settings that shape what it proposes.

    Args:
        detector: The detector.
        settings: Data that JSON can hold, or whose ``str`` tells it apart.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, value in sorted(detector.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class BoxCache:
    """Boxes and centerness of images, in a file.

    Args:
        source: :func:`fingerprint` of the detector that they are of.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.rows: dict[str, tuple[Tensor, Tensor]] = {}

    def add(self, keys: Sequence[str], proposals: BoxProposals) -> None:
        """Keep the proposals of images.

        Args:
            keys: Their :func:`image_key`.
            proposals: Of these images.
        """
        for key, boxes, centerness in zip(
            keys, proposals.boxes.cpu(), proposals.centerness.cpu(), strict=True
        ):
            # Copied, because a view would keep the whole batch.
            self.rows[key] = boxes.clone(), centerness.clone()

    def save(self, path: str) -> None:
        """Write the file; an interruption leaves no half one."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f'{target.name}.{os.getpid()}.partial')
        boxes, centerness = zip(*self.rows.values(), strict=True)
        try:
            torch.save(
                dict(
                    source=self.source,
                    keys=list(self.rows),
                    boxes=torch.stack(boxes),
                    centerness=torch.stack(centerness),
                ),
                partial,
            )
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str, source: str) -> 'BoxCache':
        """Read a file.

        Args:
            path: The file.
            source: :func:`fingerprint` that it must have.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be read, is no cache, or is of another detector.
        """
        remedy = (
            'write it anew with tools/dataset_converters/cache_proposals.py, or set '
            'model.localisers.box.cache to None'
        )
        if not Path(path).is_file():
            raise FileNotFoundError(f'the cached proposals {path} do not exist; {remedy}')
        stored = read_pickled(path)
        names = {'source', 'keys', 'boxes', 'centerness'}
        if not isinstance(stored, dict) or set(stored) != names:
            raise ValueError(f'{path} holds no cached proposals; {remedy}')
        if stored['source'] != source:
            raise ValueError(
                f'the cached proposals {path} are of a detector with other weights or settings; '
                f'{remedy}'
            )
        cache = cls(source)
        rows = zip(stored['boxes'], stored['centerness'], strict=True)
        cache.rows = dict(zip(stored['keys'], rows, strict=True))
        return cache
