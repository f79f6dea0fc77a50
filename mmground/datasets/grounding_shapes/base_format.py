"""What a file format gets of each image, and what it has to do."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .phrases import Describer
from .render import Rendering
from .scene import Scene, image_id, image_rng


@dataclass(frozen=True)
class ShapesImage:
    """One image of the data set, the same for every format.

    Args:
        seed: Seed of the data set.
        split: ``train``, ``val`` or ``test``.
        index: Number in the split, from 0.
        scene: What it shows.
        describer: Finds what can be said of the scene.
        rendering: Its pixels.
    """

    seed: int
    split: str
    index: int
    scene: Scene
    describer: Describer
    rendering: Rendering

    @property
    def image_id(self) -> int:
        """Id that no other image of any split has."""
        return image_id(self.split, self.index)

    def rng(self, stream: str) -> np.random.Generator:
        """The random numbers of one aspect of this image."""
        return image_rng(self.seed, self.split, self.index, stream)

    def mask(self, region: int) -> np.ndarray:
        """Where a region is seen.

        Args:
            region: Number of the region.

        Returns:
            Boolean, (size, size), with at least one pixel.

        Raises:
            ValueError: If no pixel shows it, in too small a picture.
        """
        mask = self.rendering.regions == region
        if not mask.any():
            raise ValueError(
                f'a {self.scene.regions[region].kind} has no visible pixel at size {len(mask)}; '
                'generate larger images'
            )
        return mask


def mask_box(mask: np.ndarray) -> list[int]:
    """The box around a mask, as COCO has it.

    Args:
        mask: Boolean, (height, width), with at least one pixel.

    Returns:
        x, y, width and height in pixels.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]


class BaseFormat(ABC):
    """A real data set's file format.

    ``write_image`` runs in worker processes. In the main one, ``prepare`` runs before and
    ``summarize`` after all images of a split, and ``write`` once after all splits.

    Attributes:
        name: What it is called on the command line.
        splits: The splits of images that it is written for.
        companions: Names of formats that are written along with it.
    """

    name: str
    splits: tuple[str, ...]
    companions: tuple[str, ...] = ()

    @property
    def settings(self) -> dict:
        """What its texts follow, for the description of the data set."""
        return {}

    def prepare(self, split: str, root: Path) -> None:  # noqa: B027
        """Make the folders that :meth:`write_image` needs for a split; none by default."""

    @abstractmethod
    def write_image(self, image: ShapesImage, root: Path) -> dict:
        """Write the files that belong to one image, if any.

        Args:
            image: The image, whose JPEG is written already.
            root: Folder of the data set.

        Returns:
            A record that can be pickled, for :meth:`write`.
        """

    @abstractmethod
    def write(self, records: dict[str, list[dict]], root: Path) -> None:
        """Write the files that belong to all images of a split, or of all splits.

        Args:
            records: Per split, what :meth:`write_image` returned for each image, in order.
            root: Folder of the data set.
        """

    @abstractmethod
    def summarize(self, records: list[dict]) -> dict[str, int | float]:
        """Numbers about a split that tell how hard it is, in printing order."""
