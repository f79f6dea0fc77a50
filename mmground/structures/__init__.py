from .geometry import Geometry
from .grounding_data_sample import GroundingDataSample
from .text_features import TextFeatures

__all__ = ['Geometry', 'GroundingDataSample', 'TextFeatures']
