from .base_localiser import Localiser
from .fcos_localiser import FCOSLocaliser
from .proposals import BoxProposals, MaskProposals
from .solo_localiser import SOLOLocaliser

__all__ = ['BoxProposals', 'FCOSLocaliser', 'Localiser', 'MaskProposals', 'SOLOLocaliser']
