from mmdet.models.dense_heads import FCOSHead
from torch import Tensor

from mmground.models.layers.pyramid import pyramid_level
from mmground.models.task_modules import boxes_from_distances
from mmground.registry import MODELS

from .base_localiser import Localiser
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
    """

    proposes = 'box'
    kind = 'fcos'

    def __init__(self, detector: dict, level: int = 2, checkpoint: str | None = None) -> None:
        super().__init__(detector, level, checkpoint)

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
        points = head.prior_generator.single_level_grid_priors(
            grid, level, dtype=distances.dtype, device=distances.device
        )
        distances = distances.flatten(2).transpose(1, 2)
        boxes = boxes_from_distances(points, distances, tuple(images.shape[-2:]))
        return BoxProposals(grid, points, boxes, centerness.flatten(1).sigmoid())
