from .lcpa import LCPA, MCA
from .phrase_pixel_head import PhrasePixelHead

__all__ = ['LCPA', 'MCA', 'PhrasePixelHead']
