from .aggregations import MCA, MUTAN, PixelAggregation, SKNet
from .contextual_cascade_head import ContextualCascadeHead
from .contextual_stage import ContextualStage
from .contrastive_head import ContrastiveHead
from .deformable_refinement import DeformableRefinement
from .lcpa import LCPA
from .lsran import LSRAN
from .matching_round import MatchingRound, MatchingState
from .object_graph import ObjectGraph
from .pair_network import PairNetwork
from .phrase_decoder import PhraseDecoder
from .phrase_pixel_head import PhrasePixelHead
from .phrase_queries import PhraseQueries
from .point_grounding_head import PointGroundingHead
from .point_localisation import PointLocalisation
from .progressive_alignment import ProgressiveAlignment
from .progressive_upsampling import ProgressiveUpsampling
from .refined_pixel_round import RefinedPixelRound
from .refinement_trace import RefinementTrace, record_refinement, trace_refinement
from .relation_classifier import RelationClassifier
from .semantic_similarity import SemanticSimilarity, semantic_similarity
from .sentence_fusion import SentenceFusion, cell_coordinates
from .vision_language_encoder import VisionLanguageEncoder
from .weak_grounding_batch import PhraseBatch, RegionBatch, Stage, WeakGrounding
from .weak_grounding_head import WeakGroundingHead

__all__ = [
    'LCPA',
    'LSRAN',
    'MCA',
    'MUTAN',
    'ContextualCascadeHead',
    'ContextualStage',
    'ContrastiveHead',
    'DeformableRefinement',
    'MatchingRound',
    'MatchingState',
    'ObjectGraph',
    'PairNetwork',
    'PhraseBatch',
    'PhraseDecoder',
    'PhrasePixelHead',
    'PhraseQueries',
    'PixelAggregation',
    'PointGroundingHead',
    'PointLocalisation',
    'ProgressiveAlignment',
    'ProgressiveUpsampling',
    'RefinedPixelRound',
    'RefinementTrace',
    'RegionBatch',
    'RelationClassifier',
    'SKNet',
    'SemanticSimilarity',
    'SentenceFusion',
    'Stage',
    'VisionLanguageEncoder',
    'WeakGrounding',
    'WeakGroundingHead',
    'cell_coordinates',
    'record_refinement',
    'semantic_similarity',
    'trace_refinement',
]
