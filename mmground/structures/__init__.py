from .geometry import Geometry
from .grounding_data_sample import GroundingDataSample

__all__ = ['Geometry', 'GroundingDataSample']
