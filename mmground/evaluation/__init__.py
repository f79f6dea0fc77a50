from .dumped_results import DumpedResults, image_of
from .metrics import DumpGroundingResults, PNGMetric, PointAccuracy, ReferringMetric

__all__ = [
    'DumpGroundingResults',
    'DumpedResults',
    'PNGMetric',
    'PointAccuracy',
    'ReferringMetric',
    'image_of',
]
