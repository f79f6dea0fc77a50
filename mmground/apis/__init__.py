from mmground.utils.checkpoint import load_weights, read_checkpoint

from .coco_panoptic import coco_panoptic
from .grounding_inferencer import GroundingInferencer, prediction_to_dict
from .inference import changed_test_cfg, init_model
from .proposal_extractor import ProposalExtractor

__all__ = [
    'GroundingInferencer',
    'ProposalExtractor',
    'changed_test_cfg',
    'coco_panoptic',
    'init_model',
    'load_weights',
    'prediction_to_dict',
    'read_checkpoint',
]
