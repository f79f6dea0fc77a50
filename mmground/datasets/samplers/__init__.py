from .image_group_sampler import ImageGroupSampler
from .seeded_samplers import SeededDefaultSampler, SeededIndex, SeededInfiniteSampler

__all__ = ['ImageGroupSampler', 'SeededDefaultSampler', 'SeededIndex', 'SeededInfiniteSampler']
