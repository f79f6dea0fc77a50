from .cached_regions import CachedRegions
from .region_encoder import RegionEncoder, coordinate_map
from .region_feature_cache import RegionFeatureCache
from .separate_regions import SeparateRegions

__all__ = [
    'CachedRegions',
    'RegionEncoder',
    'RegionFeatureCache',
    'SeparateRegions',
    'coordinate_map',
]
