from . import transforms
from .base_grounding import BaseGroundingDataset
from .png import PNGDataset
from .samplers import SeededDefaultSampler, SeededIndex, SeededInfiniteSampler

__all__ = [
    'BaseGroundingDataset',
    'PNGDataset',
    'SeededDefaultSampler',
    'SeededIndex',
    'SeededInfiniteSampler',
    'transforms',
]
