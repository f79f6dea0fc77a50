from .dumped_results import DumpedResults, image_of
from .metrics import DumpGroundingResults, PhraseGroundingMetric, PNGMetric, ReferringMetric

__all__ = [
    'DumpGroundingResults',
    'DumpedResults',
    'PNGMetric',
    'PhraseGroundingMetric',
    'ReferringMetric',
    'image_of',
]
