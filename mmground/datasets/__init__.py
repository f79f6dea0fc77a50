from . import samplers, transforms
from .attribute_detection import AttributeCocoDataset
from .base_grounding import BaseGroundingDataset
from .flickr30k_entities import Flickr30kEntitiesDataset
from .grounding_json import GroundingJsonDataset
from .png import PNGDataset
from .refcoco import RefCocoDataset
from .referitgame import ReferItGameDataset

__all__ = [
    'AttributeCocoDataset',
    'BaseGroundingDataset',
    'Flickr30kEntitiesDataset',
    'GroundingJsonDataset',
    'PNGDataset',
    'RefCocoDataset',
    'ReferItGameDataset',
    'samplers',
    'transforms',
]
