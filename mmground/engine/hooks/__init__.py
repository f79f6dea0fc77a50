from .activation_checkpoint_hook import ActivationCheckpointHook, checkpoint_activations
from .broadcast_buffers_hook import BroadcastBuffersHook
from .exact_resume_hook import ExactResumeHook
from .main_process_logger_hook import MainProcessLoggerHook
from .proposal_categories_hook import ProposalCategoriesHook
from .refinement_start_hook import RefinementStartHook
from .training_guards import FiniteLossHook, FrozenWeightsHook
from .visualization_hook import GroundingVisualizationHook

__all__ = [
    'ActivationCheckpointHook',
    'BroadcastBuffersHook',
    'ExactResumeHook',
    'FiniteLossHook',
    'FrozenWeightsHook',
    'GroundingVisualizationHook',
    'MainProcessLoggerHook',
    'ProposalCategoriesHook',
    'RefinementStartHook',
    'checkpoint_activations',
]
