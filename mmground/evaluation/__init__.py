from .dumped_results import DumpedResults
from .metrics import DumpGroundingResults, PNGMetric, PointAccuracy, ReferringMetric

__all__ = [
    'DumpGroundingResults',
    'DumpedResults',
    'PNGMetric',
    'PointAccuracy',
    'ReferringMetric',
]
