from .switch_norm import SwitchNorm2d

__all__ = ['SwitchNorm2d']
