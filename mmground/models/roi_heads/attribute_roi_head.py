from collections.abc import Sequence

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules import RandomSampler, SamplingResult
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmground.registry import MODELS, TASK_UTILS


@TASK_UTILS.register_module()
class RandomAttributeSampler(RandomSampler):
    """mmdet's ``RandomSampler``; results also have ``pos_gt_attributes`` of the positive boxes."""

    def sample(self, assign_result, pred_instances, gt_instances: InstanceData, **kwargs):
        """Sample boxes of an image.

        Args:
            assign_result: As of ``RandomSampler``.
            pred_instances: As of ``RandomSampler``.
            gt_instances: Things of the image, with ``attributes``, (g, A).
            **kwargs: As of ``RandomSampler``.
        """
        result = super().sample(assign_result, pred_instances, gt_instances, **kwargs)
        result.pos_gt_attributes = gt_instances.attributes[result.pos_assigned_gt_inds]
        return result


@MODELS.register_module()
class AttributeRoIHead(StandardRoIHead):
    """mmdet's ``StandardRoIHead`` that learns attributes as well, so that its features tell them.

    As in the detector of `Bottom-Up and Top-Down Attention for Image Captioning and Visual Question
    Answering <https://arxiv.org/abs/1707.07998>`_, Sec. 3.1, from which ReIR's frozen backbone
    comes. There one attribute of a thing is told from the others by its features and the class;
    here each by itself, of the features. Predictions are boxes only.

    Its sampler, ``train_cfg.rcnn.sampler``, is a :class:`RandomAttributeSampler`.

    Args:
        num_attributes: Number of attributes.
        loss_attribute: Config of the loss. It gets logits and targets of shape (n, A).
        **kwargs: As of ``StandardRoIHead``.
    """

    def __init__(self, num_attributes: int, loss_attribute: dict, **kwargs) -> None:
        super().__init__(**kwargs)
        self.fc_attribute = nn.Linear(self.bbox_head.in_channels, num_attributes)
        self.loss_attribute = MODELS.build(loss_attribute)

    def bbox_loss(self, x: tuple[Tensor], sampling_results: Sequence[SamplingResult]) -> dict:
        """Losses of the boxes.

        Args:
            x: The image's maps.
            sampling_results: Per image the sampled boxes.

        Returns:
            As of ``StandardRoIHead``; ``loss_bbox`` also has ``loss_attribute``.
        """
        results = super().bbox_loss(x, sampling_results)
        of_images = results['bbox_feats'].split([len(own.priors) for own in sampling_results])
        # The positive boxes of an image come first.
        positive = torch.cat(
            [
                feats[: len(own.pos_priors)]
                for feats, own in zip(of_images, sampling_results, strict=True)
            ]
        )
        targets = torch.cat([own.pos_gt_attributes for own in sampling_results])
        logits = self.fc_attribute(positive.mean((2, 3)))
        results['loss_bbox']['loss_attribute'] = self.loss_attribute(
            logits, targets, avg_factor=max(targets.numel(), 1)
        )
        return results
