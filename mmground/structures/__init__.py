from .geometry import Geometry
from .grounding_data_sample import GroundingDataSample
from .markup import find_phrases, parse_markup, resolve_phrases

__all__ = [
    'Geometry',
    'GroundingDataSample',
    'find_phrases',
    'parse_markup',
    'resolve_phrases',
]
