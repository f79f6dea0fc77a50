from .quarter_targets import quarter_resolution_targets

__all__ = ['quarter_resolution_targets']
