"""From published checkpoints' parameter names to mmground's."""

from .bert import convert_bert
from .clip import convert_clip, read_clip
from .conversion import (
    PUBLISHED,
    PublishedWeights,
    convert_checkpoint,
    merge_checkpoints,
    merge_parts,
    save_converted,
)
from .detectors import convert_fcos, convert_solo
from .detectron2_fpn import convert_detectron2_fpn
from .pbrec import convert_detr_backbone, convert_pbrec
from .ppmn import convert_ppmn, convert_ppmn_head
from .reir import convert_bottom_up, convert_reir

__all__ = [
    'PUBLISHED',
    'PublishedWeights',
    'convert_bert',
    'convert_bottom_up',
    'convert_checkpoint',
    'convert_clip',
    'convert_detectron2_fpn',
    'convert_detr_backbone',
    'convert_fcos',
    'convert_pbrec',
    'convert_ppmn',
    'convert_ppmn_head',
    'convert_reir',
    'convert_solo',
    'merge_checkpoints',
    'merge_parts',
    'read_clip',
    'save_converted',
]
