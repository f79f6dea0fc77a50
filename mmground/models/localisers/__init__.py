from .base_localiser import Localiser
from .fcos_localiser import FCOSLocaliser
from .proposal_cache import BoxCache
from .proposals import BoxProposals, MaskProposals
from .solo_localiser import SOLOLocaliser

__all__ = [
    'BoxCache',
    'BoxProposals',
    'FCOSLocaliser',
    'Localiser',
    'MaskProposals',
    'SOLOLocaliser',
]
