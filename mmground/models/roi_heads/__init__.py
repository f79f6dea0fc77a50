from .attribute_roi_head import AttributeRoIHead, RandomAttributeSampler

__all__ = ['AttributeRoIHead', 'RandomAttributeSampler']
