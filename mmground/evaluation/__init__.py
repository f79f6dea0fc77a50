from .dumped_results import DumpedResults, image_of
from .metrics import DumpGroundingResults, PNGMetric, ReferringMetric

__all__ = [
    'DumpGroundingResults',
    'DumpedResults',
    'PNGMetric',
    'ReferringMetric',
    'image_of',
]
