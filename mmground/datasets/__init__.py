from . import samplers, transforms
from .base_grounding import BaseGroundingDataset
from .png import PNGDataset

__all__ = ['BaseGroundingDataset', 'PNGDataset', 'samplers', 'transforms']
