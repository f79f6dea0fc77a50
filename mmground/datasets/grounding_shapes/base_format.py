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
        split: ``train`` or ``val``.
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


class BaseFormat(ABC):
    """A real data set's file format.

    ``write_image`` runs in worker processes; ``prepare`` runs once before and
    ``write_split`` and ``summarize`` once after all images of a split, in the main one.
    """

    name: str

    @abstractmethod
    def prepare(self, split: str, root: Path) -> None:
        """Make the folders of a split."""

    @abstractmethod
    def write_image(self, image: ShapesImage, root: Path) -> dict:
        """Write the files that belong to one image, if any.

        Args:
            image: The image, whose JPEG is written already.
            root: Folder of the data set.

        Returns:
            A record that can be pickled, for :meth:`write_split`.
        """

    @abstractmethod
    def write_split(self, records: list[dict], split: str, root: Path) -> None:
        """Write the files that belong to a split.

        Args:
            records: What :meth:`write_image` returned for each image, in order.
            split: ``train`` or ``val``.
            root: Folder of the data set.
        """

    @abstractmethod
    def summarize(self, records: list[dict]) -> dict[str, int | float]:
        """Numbers about a split that tell how hard it is, in printing order."""
