from .image_group_sampler import ImageGroupSampler

__all__ = ['ImageGroupSampler']
