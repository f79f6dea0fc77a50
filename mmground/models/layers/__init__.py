from .res_stage import ResStage
from .switch_norm import SwitchNorm2d

__all__ = ['ResStage', 'SwitchNorm2d']
