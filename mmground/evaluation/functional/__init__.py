from .average_recall import average_recall, recall_at, recall_curve
from .mask_iou import mask_iou, soft_mask_iou
from .recall_curves import save_recall_curves

__all__ = [
    'average_recall',
    'mask_iou',
    'recall_at',
    'recall_curve',
    'save_recall_curves',
    'soft_mask_iou',
]
