from .region_encoder import RegionEncoder, coordinate_map

__all__ = ['RegionEncoder', 'coordinate_map']
