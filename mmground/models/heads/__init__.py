from .aggregations import MCA, MUTAN, PixelAggregation, SKNet
from .lcpa import LCPA
from .phrase_pixel_head import PhrasePixelHead

__all__ = ['LCPA', 'MCA', 'MUTAN', 'PhrasePixelHead', 'PixelAggregation', 'SKNet']
