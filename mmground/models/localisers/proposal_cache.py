import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmground.utils.checkpoint import read_pickled

from .proposals import BoxProposals


class BoxCache:
    """Boxes and centerness of images, in a file.

    Args:
        source: :func:`.cache_keys.fingerprint` of the detector that they are of.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.rows: dict[str, tuple[Tensor, Tensor]] = {}

    def add(self, keys: Sequence[str], proposals: BoxProposals) -> None:
        """Keep the proposals of images.

        Args:
            keys: Their :func:`.cache_keys.image_key`.
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
            source: :func:`.cache_keys.fingerprint` that it must have.

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
