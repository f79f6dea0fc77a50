from .atomic_backend import AtomicLocalBackend
from .hooks import (
    ActivationCheckpointHook,
    BroadcastBuffersHook,
    ExactResumeHook,
    FiniteLossHook,
    FrozenWeightsHook,
    GroundingVisualizationHook,
    MainProcessLoggerHook,
    ProposalCategoriesHook,
    RefinementStartHook,
)
from .optim_wrappers import CPUAmpOptimWrapper
from .param_schedulers import PartMultiStepLR

__all__ = [
    'ActivationCheckpointHook',
    'AtomicLocalBackend',
    'BroadcastBuffersHook',
    'CPUAmpOptimWrapper',
    'ExactResumeHook',
    'FiniteLossHook',
    'FrozenWeightsHook',
    'GroundingVisualizationHook',
    'MainProcessLoggerHook',
    'PartMultiStepLR',
    'ProposalCategoriesHook',
    'RefinementStartHook',
]
