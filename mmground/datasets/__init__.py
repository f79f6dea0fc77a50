from . import samplers, transforms
from .base_grounding import BaseGroundingDataset
from .grounding_json import GroundingJsonDataset
from .png import PNGDataset
from .refcoco import RefCocoDataset

__all__ = [
    'BaseGroundingDataset',
    'GroundingJsonDataset',
    'PNGDataset',
    'RefCocoDataset',
    'samplers',
    'transforms',
]
