from .dumped_results import DumpedResults
from .metrics import DumpGroundingResults, PNGMetric

__all__ = ['DumpGroundingResults', 'DumpedResults', 'PNGMetric']
