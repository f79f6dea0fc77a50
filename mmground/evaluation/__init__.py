from .metrics import PNGMetric

__all__ = ['PNGMetric']
