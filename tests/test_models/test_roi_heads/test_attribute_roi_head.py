import copy

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from small_detectors import small_faster_rcnn

from mmground.registry import MODELS

ATTRIBUTES = 12
META = dict(
    img_shape=(128, 128), pad_shape=(128, 128), ori_shape=(128, 128), scale_factor=(1.0, 1.0)
)


def build(config_dir):
    cfg = small_faster_rcnn(config_dir)
    with DefaultScope.overwrite_default_scope('mmground'):
        return MODELS.build(cfg['model'])


def samples():
    """Two images, the second without a thing."""
    found = []
    for number in (3, 0):
        corners = torch.rand(number, 2) * 90
        attributes = (torch.rand(number, ATTRIBUTES) < 0.3).float()
        sample = DetDataSample(metainfo=META)
        sample.gt_instances = InstanceData(
            bboxes=torch.cat((corners, corners + 30), 1),
            labels=torch.randint(0, 12, (number,)),
            attributes=attributes,
        )
        found.append(sample)
    return found


def test_the_loss_is_of_positive_boxes_and_their_things(config_dir):
    torch.manual_seed(0)
    head = build(config_dir).roi_head.eval()
    batch = samples()
    channels = head.bbox_roi_extractor.out_channels
    x = (torch.randn(2, channels, 8, 8),)
    nothing = torch.tensor([[1.0, 2.0, 9.0, 8.0]]).expand(5, 4)
    sampled = []
    for sample in batch:
        things = sample.gt_instances
        # Boxes near the things, in another order, and boxes of nothing.
        priors = InstanceData(priors=torch.cat((things.bboxes.flip(0) + 1, nothing)))
        assigned = head.bbox_assigner.assign(priors, things)
        sampled.append(head.bbox_sampler.sample(assigned, priors, things))
    results = head.bbox_loss(x, sampled)
    terms = []
    for index, (sample, result) in enumerate(zip(batch, sampled, strict=True)):
        for box, thing in zip(result.pos_priors, result.pos_assigned_gt_inds, strict=True):
            roi = torch.tensor([[index, *box]])
            pooled = head.shared_head(head.bbox_roi_extractor(x, roi)).mean((2, 3))
            logits = head.fc_attribute(pooled)[0]
            target = sample.gt_instances.attributes[thing]
            terms += [
                F.binary_cross_entropy_with_logits(logit, own)
                for logit, own in zip(logits, target, strict=True)
            ]
    assert len(terms) >= 3 * ATTRIBUTES
    weight = head.loss_attribute.loss_weight
    expected = weight * torch.stack(terms).mean()
    assert torch.allclose(results['loss_bbox']['loss_attribute'], expected, rtol=1e-4)


def test_a_batch_without_things_and_gradients(config_dir):
    torch.manual_seed(0)
    model = build(config_dir).train()
    images = torch.randn(2, 3, 128, 128)
    losses = model.loss(images, samples())
    parsed, _ = model.parse_losses(losses)
    parsed.backward()
    missing = [name for name, own in model.named_parameters() if own.grad is None]
    assert missing == [] and model.roi_head.fc_attribute.weight.grad.abs().sum() > 0
    empty = [copy.deepcopy(samples()[1]) for _ in range(2)]
    losses = model.loss(images, empty)
    assert losses['loss_attribute'] == 0
    assert losses['loss_attribute'].requires_grad


def test_predictions_are_boxes(config_dir):
    torch.manual_seed(0)
    model = build(config_dir).eval()
    with torch.no_grad():
        found = model.predict(torch.randn(2, 3, 128, 128), samples())
    assert all(set(own.pred_instances.keys()) == {'bboxes', 'labels', 'scores'} for own in found)
