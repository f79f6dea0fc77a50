import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """Local files that are there in full or not at all.

    MMEngine writes a checkpoint in place, sometimes over the one that a training would resume
    from. A training that is killed meanwhile would leave half of a file. This writes beside
    it (``<name>.tmp``) and renames.

    Example:
        >>> checkpoint = dict(type='CheckpointHook', backend_args=dict(backend='atomic'))
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file, or replace one.

        Args:
            obj: Its content.
            filepath: Its path. Missing folders are made.
        """
        written = f'{filepath}.tmp'
        super().put(obj, written)
        os.replace(written, filepath)
