from .training_guards import FiniteLossHook, FrozenWeightsHook
from .visualization_hook import GroundingVisualizationHook

__all__ = ['FiniteLossHook', 'FrozenWeightsHook', 'GroundingVisualizationHook']
