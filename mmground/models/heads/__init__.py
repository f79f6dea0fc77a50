from .aggregations import MCA, MUTAN, PixelAggregation, SKNet
from .deformable_refinement import DeformableRefinement
from .lcpa import LCPA
from .matching_round import MatchingRound, MatchingState
from .phrase_pixel_head import PhrasePixelHead
from .phrase_queries import PhraseQueries
from .point_grounding_head import PointGroundingHead
from .point_localisation import PointLocalisation
from .refined_pixel_round import RefinedPixelRound
from .refinement_trace import RefinementTrace, record_refinement, trace_refinement
from .vision_language_encoder import VisionLanguageEncoder

__all__ = [
    'LCPA',
    'MCA',
    'MUTAN',
    'DeformableRefinement',
    'MatchingRound',
    'MatchingState',
    'PhrasePixelHead',
    'PhraseQueries',
    'PixelAggregation',
    'PointGroundingHead',
    'PointLocalisation',
    'RefinedPixelRound',
    'RefinementTrace',
    'SKNet',
    'VisionLanguageEncoder',
    'record_refinement',
    'trace_refinement',
]
