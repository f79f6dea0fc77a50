from .hooks import GroundingVisualizationHook
from .optim_wrappers import CPUAmpOptimWrapper
from .param_schedulers import PartMultiStepLR

__all__ = ['CPUAmpOptimWrapper', 'GroundingVisualizationHook', 'PartMultiStepLR']
