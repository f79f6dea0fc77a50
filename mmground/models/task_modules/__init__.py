from .point_targets import centerness_target, massness_target

__all__ = ['centerness_target', 'massness_target']
