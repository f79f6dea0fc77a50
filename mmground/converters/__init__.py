"""From published checkpoints' parameter names to mmground's."""

from .bert import convert_bert
from .detectron2_fpn import convert_detectron2_fpn
from .ppmn import convert_ppmn, convert_ppmn_head

__all__ = ['convert_bert', 'convert_detectron2_fpn', 'convert_ppmn', 'convert_ppmn_head']
