from .png_metric import PNGMetric

__all__ = ['PNGMetric']
