from .attributes import LoadAttributes, PackAttributeInputs
from .colour import PillowColorJitter
from .crop import CropAroundReferred, RandomReferringCrop
from .flip import RandomFlipWithText, swap_left_right
from .formatting import PackGroundingInputs
from .letterbox import Letterbox
from .loading import LoadGroundingImage, LoadGroundingMasks
from .proposals import LoadProposals
from .sentences import DrawSentence

__all__ = [
    'CropAroundReferred',
    'DrawSentence',
    'Letterbox',
    'LoadAttributes',
    'LoadGroundingImage',
    'LoadGroundingMasks',
    'LoadProposals',
    'PackAttributeInputs',
    'PackGroundingInputs',
    'PillowColorJitter',
    'RandomFlipWithText',
    'RandomReferringCrop',
    'swap_left_right',
]
