from .contiguous_sampler import ContiguousSampler
from .image_group_sampler import ImageGroupSampler
from .seeded_samplers import SeededDefaultSampler, SeededIndex, SeededInfiniteSampler

__all__ = [
    'ContiguousSampler',
    'ImageGroupSampler',
    'SeededDefaultSampler',
    'SeededIndex',
    'SeededInfiniteSampler',
]
