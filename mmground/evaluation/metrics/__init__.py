from .dump_grounding_results import DumpGroundingResults
from .phrase_grounding_metric import PhraseGroundingMetric
from .png_metric import PNGMetric
from .referring_metric import ReferringMetric

__all__ = [
    'DumpGroundingResults',
    'PNGMetric',
    'PhraseGroundingMetric',
    'ReferringMetric',
]
