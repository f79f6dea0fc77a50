from .deformable_encoder import DeformableEncoder
from .finest_level_fpn import FinestLevelFPN
from .level_average import LevelAverage
from .semantic_fpn import SemanticFPN

__all__ = ['DeformableEncoder', 'FinestLevelFPN', 'LevelAverage', 'SemanticFPN']
