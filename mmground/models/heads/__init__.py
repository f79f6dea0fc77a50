from .aggregations import MCA, MUTAN, PixelAggregation, SKNet
from .lcpa import LCPA
from .matching_round import MatchingRound, MatchingState
from .phrase_pixel_head import PhrasePixelHead
from .phrase_queries import PhraseQueries

__all__ = [
    'LCPA',
    'MCA',
    'MUTAN',
    'MatchingRound',
    'MatchingState',
    'PhrasePixelHead',
    'PhraseQueries',
    'PixelAggregation',
    'SKNet',
]
