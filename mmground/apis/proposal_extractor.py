import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.ops import batched_nms
from mmdet.models.detectors import BaseDetector, TwoStageDetector
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.registry import DATASETS as MMDET_DATASETS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from torch import Tensor

from mmground.datasets.transforms import LoadGroundingImage
from mmground.models.cache_keys import fingerprint
from mmground.registry import MODELS
from mmground.utils.checkpoint import read_checkpoint

from .inference import init_model

BOXES = ('regressed', 'rpn')


def is_detector(cfg: Config) -> bool:
    """Whether a config's model is a detector of mmdet, also of a class derived from one."""
    model = cfg.get('model') or {}
    kind = model.get('type')
    if isinstance(kind, str):
        scope = model.get('_scope_') or cfg.get('default_scope') or 'mmground'
        with MODELS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    return isinstance(kind, type) and issubclass(kind, BaseDetector)


class ProposalExtractor:
    """Proposals with categories from any detector of mmdet.

    Args:
        config: Config of the detector, or its file. Its test pipeline prepares images.
        checkpoint: Its weights.
        boxes: ``'regressed'``, what the detector finds; or ``'rpn'``, of a two-stage detector,
            the boxes of its region proposal network as they are, each with its most probable
            category, after non-maximum suppression within categories as the detector does it.
        num: How many are kept of an image, the best; there may be fewer.
        classes: Names of the categories. None takes those that the checkpoint carries, or else
            those of the config's test data.
        device: Where the detector goes.
        trust_checkpoint: See :func:`init_model`.

    Attributes:
        header (dict): What :class:`ProposalWriter` wants to know.

    Raises:
        FileNotFoundError: If the config or the checkpoint does not exist.
        ValueError: If it is no detector or has no boxes of that kind, the checkpoint does not fit,
            or the names of the categories are unknown or of another number.
    """

    def __init__(
        self,
        config: str | Config,
        checkpoint: str,
        boxes: str = 'regressed',
        num: int = 50,
        classes: Sequence[str] | None = None,
        device: str = 'cpu',
        trust_checkpoint: bool = False,
    ) -> None:
        if boxes not in BOXES:
            raise ValueError(f'boxes must be one of {BOXES}, got {boxes!r}')
        if num < 1:
            raise ValueError(f'num must be at least 1, got {num}')
        self.boxes = boxes
        self.num = num
        self.model = init_model(config, checkpoint, device, trust_checkpoint=trust_checkpoint)
        cfg = self.model.cfg
        if not isinstance(self.model, BaseDetector):
            raise ValueError(
                f'{_name(cfg)} is no detector of mmdet, but a {type(self.model).__name__}'
            )
        if boxes == 'rpn' and not (
            isinstance(self.model, TwoStageDetector)
            and self.model.with_rpn
            and isinstance(self.model.roi_head, StandardRoIHead)
        ):
            raise ValueError(
                f'{_name(cfg)} has no region proposal network with one head behind it, whose boxes '
                "'rpn' could take: use 'regressed'"
            )
        pipeline = copy.deepcopy(get_test_pipeline_cfg(cfg))
        pipeline[0].type = 'mmdet.LoadImageFromNDArray'
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmdet')):
            self._pipeline = Compose(pipeline)
        self._load = LoadGroundingImage()
        meta = read_checkpoint(checkpoint, trust_checkpoint).get('meta') or {}
        self.header = dict(
            detector=_name(cfg),
            classes=_checked_classes(self.model, _classes(cfg, meta, classes), _name(cfg)),
            config_hash=fingerprint(self.model, dict(model=cfg.model, pipeline=pipeline)),
            boxes=boxes,
            num=num,
        )

    def prepare(self, image: str | np.ndarray) -> dict:
        """Load an image and prepare it for the detector.

        Args:
            image: Its file; or its pixels, BGR, uint8, shape (H, W, 3).

        Returns:
            A dict of ``inputs`` and ``data_samples``. A batch has lists of them.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be decoded.
        """
        if isinstance(image, str):
            image = self._load(dict(img_path=image))['img']
        return self._pipeline(dict(img=image, img_id=0))

    @torch.no_grad()
    def __call__(self, batch: dict) -> list[dict[str, np.ndarray]]:
        """Find proposals.

        Args:
            batch: ``inputs`` and ``data_samples``, lists of what :meth:`prepare` returned.

        Returns:
            Per image ``boxes``, ``labels`` and ``scores``, see :class:`ProposalStore`.
        """
        batch = self.model.data_preprocessor(batch, False)
        find = self._regressed if self.boxes == 'regressed' else self._rpn
        found = find(**batch)
        return [
            self._best(*own, sample.ori_shape)
            for own, sample in zip(found, batch['data_samples'], strict=True)
        ]

    def _best(
        self, boxes: Tensor, labels: Tensor, scores: Tensor, shape: tuple[int, int]
    ) -> dict[str, np.ndarray]:
        height, width = shape[:2]
        boxes = boxes.float().clamp(min=0)
        boxes = torch.minimum(boxes, boxes.new_tensor([width, height, width, height]))
        inside = (boxes[:, :2] < boxes[:, 2:]).all(1)
        order = scores.argsort(descending=True, stable=True)
        order = order[inside[order]][: self.num]
        return dict(
            boxes=boxes[order].cpu().numpy(),
            labels=labels[order].long().cpu().numpy(),
            scores=scores[order].float().cpu().numpy(),
        )

    def _regressed(self, inputs: Tensor, data_samples: list[DetDataSample]):
        samples = self.model.predict(inputs, data_samples, rescale=True)
        instances = (sample.pred_instances for sample in samples)
        return [(own.bboxes, own.labels, own.scores) for own in instances]

    def _rpn(self, inputs: Tensor, data_samples: list[DetDataSample]):
        head = self.model.roi_head
        feats = self.model.extract_feat(inputs)
        proposals = self.model.rpn_head.predict(feats, data_samples, rescale=False)
        boxes = [own.bboxes for own in proposals]
        logits = head._bbox_forward(feats, bbox2roi(boxes))['cls_score']
        if head.bbox_head.custom_activation:
            probs = head.bbox_head.loss_cls.get_activation(logits)
        else:
            probs = F.softmax(logits, dim=-1)
        # The last is the background.
        scores, labels = probs[:, : len(self.header['classes'])].max(1)
        counts = [len(own) for own in boxes]
        found = []
        for own, own_scores, own_labels, sample in zip(
            boxes, scores.split(counts), labels.split(counts), data_samples, strict=True
        ):
            own = own / own.new_tensor(sample.scale_factor).repeat(2)
            _, keep = batched_nms(own, own_scores, own_labels, self.model.test_cfg.rcnn.nms)
            found.append((own[keep], own_labels[keep], own_scores[keep]))
        return found


def _name(cfg: Config) -> str:
    return Path(cfg.filename).stem if cfg.filename else str(cfg.model.type)


def _classes(cfg: Config, meta: dict, given: Sequence[str] | None) -> list[str]:
    """Names of the categories, as far as they are known."""
    if given is not None:
        return list(given)
    # Of mmdet 3 and 2.
    stored = (meta.get('dataset_meta') or {}).get('classes') or meta.get('CLASSES')
    if stored:
        return list(stored)
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    stated = (dataset.get('metainfo') or {}).get('classes')
    if stated is None and 'type' in dataset:
        kind = MMDET_DATASETS.get(dataset['type'])
        stated = getattr(kind, 'METAINFO', {}).get('classes')
    if stated is None:
        raise ValueError(
            f'neither the checkpoint nor the config of {_name(cfg)} says how its categories are '
            'called: give their names'
        )
    return list(stated)


def _checked_classes(model: torch.nn.Module, classes: list[str], name: str) -> list[str]:
    """The names, if there are as many as the detector tells apart."""
    counts = {
        module.num_classes
        for part in ('roi_head', 'bbox_head')
        if hasattr(model, part)
        for module in getattr(model, part).modules()
        if isinstance(getattr(module, 'num_classes', None), int)
    }
    if counts and len(classes) not in counts:
        raise ValueError(
            f'{name} tells {sorted(counts)[0]} categories apart, but has {len(classes)} names for '
            'them: give the right names'
        )
    return classes
