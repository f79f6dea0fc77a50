from .bce_loss import BCELoss
from .ranking_loss import ImageTextRankingLoss
from .reconstruction_loss import ReconstructionLoss
from .relation_loss import RelationLoss, relation_class_weights
from .self_taught_regression import (
    RegressionTargets,
    SelfTaughtRegressionLoss,
    self_taught_targets,
)

__all__ = [
    'BCELoss',
    'ImageTextRankingLoss',
    'ReconstructionLoss',
    'RegressionTargets',
    'RelationLoss',
    'SelfTaughtRegressionLoss',
    'relation_class_weights',
    'self_taught_targets',
]
