from .formatting import PackGroundingInputs
from .loading import LoadGroundingImage, LoadGroundingMasks

__all__ = ['LoadGroundingImage', 'LoadGroundingMasks', 'PackGroundingInputs']
