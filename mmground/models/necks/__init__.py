from .deformable_encoder import DeformableEncoder
from .level_average import LevelAverage
from .semantic_fpn import SemanticFPN

__all__ = ['DeformableEncoder', 'LevelAverage', 'SemanticFPN']
