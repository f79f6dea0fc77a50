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
)

__all__ = [
    'Candidates',
    'boxes_from_distances',
    'interpolate_scores',
    'iou_nms',
    'overlap_scores',
    'pairwise_box_ious',
    'pairwise_mask_ious',
    'ranking_scores',
    'top_candidates',
]
