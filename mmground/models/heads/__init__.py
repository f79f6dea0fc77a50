from .aggregations import MCA, MUTAN, PixelAggregation, SKNet
from .contextual_cascade_head import ContextualCascadeHead
from .contextual_stage import ContextualStage
from .deformable_refinement import DeformableRefinement
from .lcpa import LCPA
from .lsran import LSRAN
from .matching_round import MatchingRound, MatchingState
from .phrase_pixel_head import PhrasePixelHead
from .phrase_queries import PhraseQueries
from .point_grounding_head import PointGroundingHead
from .point_localisation import PointLocalisation
from .progressive_alignment import ProgressiveAlignment
from .progressive_upsampling import ProgressiveUpsampling
from .refined_pixel_round import RefinedPixelRound
from .refinement_trace import RefinementTrace, record_refinement, trace_refinement
from .sentence_fusion import SentenceFusion, cell_coordinates
from .vision_language_encoder import VisionLanguageEncoder

__all__ = [
    'LCPA',
    'LSRAN',
    'MCA',
    'MUTAN',
    'ContextualCascadeHead',
    'ContextualStage',
    'DeformableRefinement',
    'MatchingRound',
    'MatchingState',
    'PhrasePixelHead',
    'PhraseQueries',
    'PixelAggregation',
    'PointGroundingHead',
    'PointLocalisation',
    'ProgressiveAlignment',
    'ProgressiveUpsampling',
    'RefinedPixelRound',
    'RefinementTrace',
    'SKNet',
    'SentenceFusion',
    'VisionLanguageEncoder',
    'cell_coordinates',
    'record_refinement',
    'trace_refinement',
]
