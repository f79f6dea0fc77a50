from .lcpa import LCPA
from .phrase_pixel_head import PhrasePixelHead

__all__ = ['LCPA', 'PhrasePixelHead']
