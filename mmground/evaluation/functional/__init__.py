from .average_recall import average_recall, recall_areas, recall_at, recall_curve
from .bootstrap import bootstrap_intervals
from .box_iou import box_area, box_iou
from .mask_iou import mask_iou, mask_overlap, pairwise_mask_iou, soft_mask_iou
from .overall_iou import overall_iou
from .phrase_boxes import best_ious, centre_hits, recalled
from .phrase_groups import label_groups, length_groups, size_groups
from .proposal_scores import proposal_scores
from .recall_curves import save_recall_curves

__all__ = [
    'average_recall',
    'best_ious',
    'bootstrap_intervals',
    'box_area',
    'box_iou',
    'centre_hits',
    'label_groups',
    'length_groups',
    'mask_iou',
    'mask_overlap',
    'overall_iou',
    'pairwise_mask_iou',
    'proposal_scores',
    'recall_areas',
    'recall_at',
    'recall_curve',
    'recalled',
    'save_recall_curves',
    'size_groups',
    'soft_mask_iou',
]
