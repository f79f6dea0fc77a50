from .box_deltas import clip_boxes, decode_boxes, encode_boxes
from .iou_nms import (
    Candidates,
    boxes_from_distances,
    interpolate_scores,
    iou_nms,
    overlap_scores,
    pairwise_box_ious,
    pairwise_mask_ious,
    ranking_scores,
    top_candidates,
    without_self,
)
from .point_targets import centerness_target, massness_target
from .referred_region import check_one_phrase, referred_box, referred_mask

__all__ = [
    'Candidates',
    'boxes_from_distances',
    'centerness_target',
    'check_one_phrase',
    'clip_boxes',
    'decode_boxes',
    'encode_boxes',
    'interpolate_scores',
    'iou_nms',
    'massness_target',
    'overlap_scores',
    'pairwise_box_ious',
    'pairwise_mask_ious',
    'ranking_scores',
    'referred_box',
    'referred_mask',
    'top_candidates',
    'without_self',
]
