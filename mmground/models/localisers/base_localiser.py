import copy
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

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
            ``tools/train.py`` wrote with the detector's config, or the converted file of a
            published one. They stand in the checkpoints of the whole model then. None leaves them
            to the checkpoint that the training begins with.

    Raises:
        ValueError: If the detector is of another kind, lacks its normalisation, or has no such
            level.
    """

    proposes: ClassVar[str]
    """What it proposes, ``'box'`` or ``'mask'``: its name among the localisers of a model."""

    kind: ClassVar[str]
    """What ``tools/model_converters/convert.py`` calls its published weights."""

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
            # A training's folder has the name of its config.
            command = (
                f'train the detector first: python tools/train.py .../{path.parent.name}.py'
                if 'work_dirs' in path.parts
                else 'convert published weights first: python tools/model_converters/convert.py '
                f'{self.kind} IN {path}'
            )
            raise FileNotFoundError(
                f'{path}, the weights of the {type(self).__name__}, does not exist; {command}; or '
                f'let model.localisers.{self.proposes}.checkpoint name a file'
            )
        checkpoint = read_checkpoint(str(path))
        prefix = f'localisers.{self.proposes}.detector.'
        converted = {
            name.removeprefix(prefix): weight
            for name, weight in checkpoint['state_dict'].items()
            if name.startswith(prefix)
        }
        if converted:
            checkpoint['state_dict'] = converted
        load_weights(self.detector, checkpoint, str(path))
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
