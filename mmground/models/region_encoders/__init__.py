from .cached_regions import CachedRegions
from .region_encoder import RegionEncoder, coordinate_map
from .region_feature_cache import RegionFeatureCache

__all__ = ['CachedRegions', 'RegionEncoder', 'RegionFeatureCache', 'coordinate_map']
