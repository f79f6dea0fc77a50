from .grid_targets import grid_targets

__all__ = ['grid_targets']
