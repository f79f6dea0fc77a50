from .dump_grounding_results import DumpGroundingResults
from .png_metric import PNGMetric
from .point_accuracy import PointAccuracy
from .referring_metric import ReferringMetric

__all__ = ['DumpGroundingResults', 'PNGMetric', 'PointAccuracy', 'ReferringMetric']
