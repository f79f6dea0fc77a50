from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import FCOSHead
from torch import Tensor

from mmground.models.cache_keys import fingerprint, image_key
from mmground.models.layers.pyramid import pyramid_level
from mmground.models.task_modules import boxes_from_distances
from mmground.registry import MODELS
from mmground.structures import Geometry

from .base_localiser import Localiser
from .proposal_cache import BoxCache
from .proposals import BoxProposals


@MODELS.register_module()
class FCOSLocaliser(Localiser):
    """Boxes from one level of `FCOS <https://arxiv.org/abs/1904.01355>`_.

    PBREC reads P5, level 2 of five: of its stride 32 there are as many points as the
    comprehension stage has cells, at the same places. Class scores are not used.

    Of the pyramid only what the level needs is computed, and the head on that level.

    Args:
        detector: Config of mmdet's FCOS, see :class:`Localiser`.
        level: Index of the level.
        checkpoint: See :class:`Localiser`.
        cache: File of boxes that ``tools/dataset_converters/cache_proposals.py`` wrote with the
            same detector; images that are in it are not looked at again. One of another detector
            is an error when it is first used.
    """

    proposes = 'box'
    kind = 'fcos'

    def __init__(
        self,
        detector: dict,
        level: int = 2,
        checkpoint: str | None = None,
        cache: str | None = None,
    ) -> None:
        super().__init__(detector, level, checkpoint)
        self.cache = cache
        self._settings = dict(detector=detector, level=level)
        self._cached: BoxCache | None = None
        self.register_load_state_dict_post_hook(_forget_cache)

    @property
    def fingerprint(self) -> str:
        """What cached proposals are known by, see :func:`fingerprint`."""
        return fingerprint(self.detector, self._settings)

    @torch.no_grad()
    def forward(self, canvas: Tensor, geometries: Sequence[Geometry]) -> BoxProposals:
        """Boxes and centerness of all points, from the cache where it has an image.

        Args:
            canvas: See :meth:`Localiser.forward`.
            geometries: See :meth:`Localiser.forward`.

        Returns:
            The proposals.
        """
        if self.cache is None:
            return super().forward(canvas, geometries)
        if self._cached is None:
            self._cached = BoxCache.load(self.cache, self.fingerprint)
        keys = [image_key(image, own) for image, own in zip(canvas, geometries, strict=True)]
        rows = [self._cached.rows.get(key) for key in keys]
        missing = [index for index, row in enumerate(rows) if row is None]
        if missing:
            live = super().forward(canvas[missing], [geometries[index] for index in missing])
            for index, *own in zip(missing, live.boxes, live.centerness, strict=True):
                rows[index] = own
        boxes, centerness = (
            torch.stack([value.to(canvas.device) for value in values])
            for values in zip(*rows, strict=True)
        )
        stride = self.detector.bbox_head.strides[self.level]
        # As its convolutions, which round up.
        grid = tuple(-(-length // stride) for length in canvas.shape[-2:])
        return BoxProposals(grid, self._points(grid, boxes), boxes, centerness)

    @property
    def num_levels(self) -> int:
        """Levels of the detector's head."""
        return len(self.detector.bbox_head.strides)

    def _check_detector(self) -> None:
        head = getattr(self.detector, 'bbox_head', None)
        if type(head) is not FCOSHead:
            raise ValueError(
                f'FCOSLocaliser needs a detector with an FCOSHead, but the '
                f'{type(self.detector).__name__} has '
                f'{"none" if head is None else f"a {type(head).__name__}"}'
            )

    def propose(self, images: Tensor) -> BoxProposals:
        """Boxes and centerness of all points of the level.

        Args:
            images: Normalised for the detector. Shape (B, 3, H, W).

        Returns:
            The proposals.
        """
        detector, level = self.detector, self.level
        head = detector.bbox_head
        feats = detector.backbone(images)
        feature = pyramid_level(detector.neck if detector.with_neck else None, feats, level)
        # In eval mode distances are in pixels, whatever the head was trained to predict.
        _, distances, centerness = head.forward_single(
            feature, head.scales[level], head.strides[level]
        )
        grid = tuple(feature.shape[-2:])
        points = self._points(grid, distances)
        distances = distances.flatten(2).transpose(1, 2)
        boxes = boxes_from_distances(points, distances, tuple(images.shape[-2:]))
        return BoxProposals(grid, points, boxes, centerness.flatten(1).sigmoid())

    def _points(self, grid: tuple[int, int], like: Tensor) -> Tensor:
        """xy of the points of the level. Shape (n, 2)."""
        return self.detector.bbox_head.prior_generator.single_level_grid_priors(
            grid, self.level, dtype=like.dtype, device=like.device
        )


def _forget_cache(localiser: FCOSLocaliser, incompatible_keys) -> None:
    """Other weights propose other boxes."""
    localiser._cached = None
