from .hooks import FiniteLossHook, FrozenWeightsHook, GroundingVisualizationHook
from .optim_wrappers import CPUAmpOptimWrapper
from .param_schedulers import PartMultiStepLR

__all__ = [
    'CPUAmpOptimWrapper',
    'FiniteLossHook',
    'FrozenWeightsHook',
    'GroundingVisualizationHook',
    'PartMultiStepLR',
]
