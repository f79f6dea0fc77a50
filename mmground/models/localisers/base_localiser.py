import copy
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmground.registry import MODELS
from mmground.structures import Geometry
from mmground.utils.checkpoint import load_weights, read_checkpoint

from .proposals import BoxProposals, MaskProposals


class Localiser(BaseModule):
    """A frozen detector of mmdet that proposes a box or a mask for each point of a grid.

    It takes no gradient and stays in eval mode whatever happens around it. It normalises images
    by itself, with ``mean``, ``std`` and channel order of the detector's ``data_preprocessor``.

    Args:
        detector: Config of the detector, as in mmdet's own configs: with ``data_preprocessor``
            and with names in mmdet's scope.
        level: Which level of the detector's pyramid proposes, fine to coarse.
        checkpoint: The detector's weights, for a training to begin with: a file that
            ``tools/train.py`` wrote with the detector's config. They stand in the checkpoints of
            the whole model then. None leaves them to the checkpoint of the model.

    Raises:
        ValueError: If the detector is of another kind, lacks its normalisation, or has no such
            level.
    """

    def __init__(self, detector: dict, level: int, checkpoint: str | None = None) -> None:
        super().__init__()
        settings = detector.get('data_preprocessor') or {}
        if not {'mean', 'std'} <= settings.keys():
            raise ValueError(
                f'{type(self).__name__}: detector.data_preprocessor must have the mean and std '
                'that the detector was trained with'
            )
        # Copied, because mmdet's detectors write into their config.
        self.detector = MODELS.build(dict(copy.deepcopy(detector), _scope_='mmdet'))
        self._check_detector()
        if not 0 <= level < self.num_levels:
            raise ValueError(
                f'{type(self).__name__}: the detector has {self.num_levels} level(s), so there '
                f'is no level {level} (counted from 0)'
            )
        self.level = level
        self.checkpoint = checkpoint
        self.has_weights = False
        self._swap_channels = bool(settings.get('bgr_to_rgb') or settings.get('rgb_to_bgr'))
        self.requires_grad_(False)
        self.eval()

    @property
    @abstractmethod
    def num_levels(self) -> int:
        """Levels of the detector's head."""

    @abstractmethod
    def _check_detector(self) -> None:
        """Raise a ValueError if the detector is of a kind that is not understood here."""

    @abstractmethod
    def propose(self, images: Tensor) -> BoxProposals | MaskProposals:
        """Proposals of normalised images, (B, 3, H, W)."""

    def train(self, mode: bool = True) -> 'Localiser':
        """Stay in eval mode."""
        return super().train(False)

    def init_weights(self) -> None:
        """Load ``checkpoint``, if one is given; every name and shape must be the detector's.

        Weights that the detector's config would load for a training of its own are not.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be read, or is another detector's.
        """
        if self.checkpoint is None:
            return
        path = Path(self.checkpoint)
        if not path.is_file():
            raise FileNotFoundError(
                f'{path}: the detector of the {type(self).__name__} is not there. Train it first: '
                f'python tools/train.py with the config {path.parent.name}.py; or name its '
                'checkpoint: model.localisers.box.checkpoint for boxes, '
                'model.localisers.mask.checkpoint for masks'
            )
        load_weights(self.detector, read_checkpoint(str(path)), str(path))
        self.has_weights = True

    @torch.no_grad()
    def forward(
        self, canvas: Tensor, geometries: Sequence[Geometry]
    ) -> BoxProposals | MaskProposals:
        """Run the detector once for each image.

        Args:
            canvas: B images as they are, not normalised: **BGR**, float, 0 to 255. What is on
                the padding does not matter. Shape (B, 3, H, W).
            geometries: Of each image, where it lies on the canvas.

        Returns:
            The proposals.
        """
        images = self.normalise(canvas, geometries)
        if not images.is_cuda:
            # The faster order for convolutions on the CPU.
            images = images.contiguous(memory_format=torch.channels_last)
        return self.propose(images)

    def normalise(self, canvas: Tensor, geometries: Sequence[Geometry]) -> Tensor:
        """What the detector takes: its own normalisation, then zero on the padding.

        Args:
            canvas: As for :meth:`forward`.
            geometries: As for :meth:`forward`.

        Returns:
            Shape (B, 3, H, W), channels in the detector's order.
        """
        preprocessor = self.detector.data_preprocessor
        images = canvas.flip(1) if self._swap_channels else canvas
        images = (images - preprocessor.mean) / preprocessor.std
        shape = tuple(canvas.shape[-2:])
        valid = torch.stack([geometry.valid_cells(shape) for geometry in geometries])
        return images * valid[:, None].to(images.device)
