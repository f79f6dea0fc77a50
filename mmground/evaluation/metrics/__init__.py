from .dump_grounding_results import DumpGroundingResults
from .png_metric import PNGMetric

__all__ = ['DumpGroundingResults', 'PNGMetric']
