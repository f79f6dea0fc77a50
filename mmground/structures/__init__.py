from .geometry import Geometry
from .grounding_data_sample import GroundingDataSample
from .phrase_links import phrase_flags, phrase_masks

__all__ = ['Geometry', 'GroundingDataSample', 'phrase_flags', 'phrase_masks']
