import os
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor


class RegionFeatureCache:
    """Features of frozen parts in a folder, a file for each image, in half precision.

    Entries of other weights or settings are never read: each :meth:`open` has a folder of its own
    below ``path``, named after what made them. Any number of processes can read and write at a
    time; an entry is there in full or not at all.

    Args:
        path: The folder.
        keep_maps: Whether maps of the backbone are kept, too, so that it does not run for boxes
            that are no proposals either. 37 kB an image of 192 x 192 pixels and 128 channels, but 5
            MB one of 600 x 1000 and 1024: for small data only.
    """

    def __init__(self, path: str, keep_maps: bool = False) -> None:
        self.path = str(path)
        self.keep_maps = keep_maps
        self._folder: Path | None = None
        self._forms: dict[tuple[str, bool], str] = {}

    @property
    def is_open(self) -> bool:
        """Whether it is known what the entries have to be of."""
        return self._folder is not None

    def open(self, source: str) -> None:
        """Go on with the entries of a source, or begin them.

        Args:
            source: :func:`.cache_keys.fingerprint` of the parts that make them.
        """
        root = Path(self.path)
        self._folder = root / source[:32]
        state = 'goes on' if self._folder.is_dir() else 'begins'
        self._folder.mkdir(parents=True, exist_ok=True)
        others = [own.name for own in root.iterdir() if own.is_dir() and own != self._folder]
        message = f'the cache of features of regions {state}: {self._folder}'
        if others:
            message += f'; of other weights or settings, and not read: {", ".join(sorted(others))}'
        print_log(message, logger='current')

    def close(self) -> None:
        """Forget the source, because the weights have changed."""
        self._folder = None
        self._forms.clear()

    def check_form(self, img_path: str, flip: bool, key: str) -> None:
        """Check that an image, mirrored or not, always looks the same.

        Args:
            img_path: The image.
            flip: Whether it is mirrored.
            key: What it and its proposals are known by.

        Raises:
            ValueError: If it looked otherwise before.
        """
        if img_path and self._forms.setdefault((img_path, flip), key) != key:
            raise ValueError(
                f'{img_path}: the image comes with other pixels, of another size or with other '
                'proposals than before, so its features cannot be cached: take random transforms, '
                'all but RandomFlip, out of the pipeline, or set model.region_cache=None'
            )

    def read(self, key: str, ndim: int, num: int | None = None) -> Tensor | None:
        """Look an entry up.

        Args:
            key: Its name.
            ndim: Its number of axes.
            num: Length of its first axis; None is any.

        Returns:
            float16; None if there is none.

        Raises:
            ValueError: If the file is damaged.
        """
        path = self._file(key)
        try:
            values = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(_damaged(path, str(error))) from error
        if values.dtype != np.float16 or values.ndim != ndim or num not in (None, len(values)):
            raise ValueError(_damaged(path, f'{values.dtype} of shape {values.shape}'))
        return torch.from_numpy(values)

    def write(self, key: str, values: Tensor) -> None:
        """Keep an entry, or replace it.

        Args:
            key: Its name.
            values: float16.

        Raises:
            ValueError: If a value is not finite, such as one beyond the range of half precision.
        """
        if not values.isfinite().all():
            raise ValueError(
                'features of the frozen parts are not finite in half precision, so they cannot be '
                'cached: check the weights, or set model.region_cache=None'
            )
        path = self._file(key)
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f'{path.name}.{uuid4().hex}.partial')
        try:
            with partial.open('wb') as file:
                np.save(file, values.cpu().numpy())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        # Folders of tens of thousands of files are slow on some systems.
        return self._folder / key[:2] / f'{key}.npy'


def _damaged(path: Path, problem: str) -> str:
    return f'{path}: the entry is damaged ({problem}); delete this file, and it is made anew'
