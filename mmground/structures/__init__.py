from .geometry import Geometry
from .grid_targets import grid_targets
from .grounding_data_sample import GroundingDataSample
from .image_geometries import image_geometries
from .markup import (
    find_phrases,
    format_markup,
    parse_markup,
    resolve_expression,
    resolve_phrases,
)
from .mask_codes import check_polygons, decode_mask, decode_masks, encode_masks, mask_area
from .panoptic import (
    decode_segment_ids,
    encode_segment_ids,
    merge_panoptic,
    segment_phrase_masks,
)
from .phrase_links import last_regions, phrase_boxes, phrase_flags, phrase_masks
from .text_features import TextFeatures

__all__ = [
    'Geometry',
    'GroundingDataSample',
    'TextFeatures',
    'check_polygons',
    'decode_mask',
    'decode_masks',
    'decode_segment_ids',
    'encode_masks',
    'encode_segment_ids',
    'find_phrases',
    'format_markup',
    'grid_targets',
    'image_geometries',
    'last_regions',
    'mask_area',
    'merge_panoptic',
    'parse_markup',
    'phrase_boxes',
    'phrase_flags',
    'phrase_masks',
    'resolve_expression',
    'resolve_phrases',
    'segment_phrase_masks',
]
