from .geometry import Geometry
from .grounding_data_sample import GroundingDataSample
from .phrase_links import phrase_flags, phrase_masks
from .text_features import TextFeatures

__all__ = [
    'Geometry',
    'GroundingDataSample',
    'TextFeatures',
    'phrase_flags',
    'phrase_masks',
]
