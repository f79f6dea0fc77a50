"""Every word of the generator's language: what things and stuff are called.

Only tables of surface forms, so that a vocabulary can be collected from them (see
:mod:`.vocab`); which form is true of a scene is decided in :mod:`.phrases`.
"""

from dataclasses import dataclass

COLORS = ('red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'white', 'black')

SIZES = {'small': ('small', 'little'), 'large': ('large', 'big')}
"""Size -> adjectives. Things of medium size are neither."""

TEXTURES = {'plain': ('plain',), 'striped': ('striped',), 'dotted': ('dotted', 'spotted')}

THINGS = {
    'ball': (('ball', 'balls'), ('circle', 'circles')),
    'box': (('box', 'boxes'), ('square', 'squares')),
    'triangle': (('triangle', 'triangles'),),
    'star': (('star', 'stars'),),
    'cross': (('cross', 'crosses'),),
    'ring': (('ring', 'rings'),),
    'heart': (('heart', 'hearts'),),
    'diamond': (('diamond', 'diamonds'),),
    'arrow': (('arrow', 'arrows'),),
    'crescent': (('crescent', 'crescents'), ('moon', 'moons')),
    'house': (('house', 'houses'),),
    'flower': (('flower', 'flowers'),),
}
"""Kind -> (singular, plural) of each of its names."""

ANY_THING = (('shape', 'shapes'), ('object', 'objects'))
"""Names of a thing whose kind is not told."""

NUMBERS = ('one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight')
QUANTIFIERS = ('some', 'a few', 'several')
"""Alternatives to a number of at least three."""

ARTICLES = ('a', 'an', 'the')
VERBS = ('is', 'are')


@dataclass(frozen=True)
class StuffWords:
    """How a kind of stuff is spoken of.

    Args:
        new: Noun phrases that introduce it.
        definite: Noun phrases for it anywhere.
        under: Prepositions that place a thing on it.
    """

    new: tuple[str, ...]
    definite: tuple[str, ...]
    under: tuple[str, ...]


STUFF = {
    'sky': StuffWords(('the sky',), ('the sky',), ('in',)),
    'mountain': StuffWords(
        ('a mountain', 'the mountain', 'mountains'),
        ('the mountain', 'the mountains'),
        ('in front of',),
    ),
    'trees': StuffWords(('trees', 'the trees', 'some trees'), ('the trees',), ('in front of',)),
    'wall': StuffWords(('a wall', 'the wall', 'a brick wall'), ('the wall',), ('in front of',)),
    'curtain': StuffWords(('a curtain', 'the curtain'), ('the curtain',), ('in front of',)),
    'grass': StuffWords(('grass', 'the grass', 'green grass'), ('the grass',), ('on',)),
    'sand': StuffWords(('sand', 'the sand'), ('the sand',), ('on',)),
    'snow': StuffWords(('snow', 'the snow', 'white snow'), ('the snow',), ('on',)),
    'water': StuffWords(('water', 'the water'), ('the water',), ('in', 'on')),
    'road': StuffWords(('a road', 'the road', 'a gray road'), ('the road',), ('on',)),
    'floor': StuffWords(('the floor', 'a wooden floor'), ('the floor',), ('on',)),
    'carpet': StuffWords(('a carpet', 'the carpet'), ('the carpet',), ('on',)),
}

BACKDROPS = frozenset({'sky', 'mountain', 'trees', 'wall', 'curtain'})
"""Stuff that may be said to be in the background."""

PICTURES = ('picture', 'image')

POSITIONS = {
    'left': (('on', 'the left side'), ('on', 'the left')),
    'right': (('on', 'the right side'), ('on', 'the right')),
    'top': (('at', 'the top'), ('in', 'the upper part')),
    'bottom': (('at', 'the bottom'), ('in', 'the lower part')),
    'middle': (('in', 'the middle'), ('in', 'the center')),
}
"""Place in the picture -> (preposition, noun phrase) pairs; "of the picture" may follow."""

RELATIONS = {
    'left of': ('to the left of', 'on the left of'),
    'right of': ('to the right of', 'on the right of'),
    'above': ('above', 'over'),
    'below': ('below', 'under'),
    'next to': ('next to', 'beside', 'near'),
    'in front of': ('in front of',),
    'behind': ('behind',),
}
"""Relation of a thing to another thing -> prepositions."""

EXISTENTIALS = ('there {be}', 'we can see', 'I can see', 'I see')
LATER_EXISTENTIALS = ('there {be}', 'there {be} also', 'we can see', 'we can also see', 'I can see')

DEMONSTRATIVES = ('this', 'the')
"""Openings: "in this picture" + existential."""
SUBJECT_OPENINGS = (
    ('(this {picture})', 'shows'),
    ('this is', '({a} {picture})', 'of'),
    ('(the {picture})', 'contains'),
)

BACKGROUND = 'the background'
BACKGROUND_EXISTENTIALS = ('there {be}', 'we can see', 'I can see')
STUFF_SENTENCES = ('we can also see', 'I can also see', 'we can see')

REMARKS = (
    ('it looks like', '(a drawing)'),
    ('it looks like', '(a painting)'),
    ('I think this is', '(a cartoon)'),
    ('(the colors)', 'are bright'),
    ('(the quality)', 'of', '(the {picture})', 'is good'),
    ('(this {picture})', 'looks like', '(a puzzle)'),
    ('(the light)', 'is soft'),
)
"""Closing remarks; noun phrases in parentheses refer to no region."""

OUTDOOR_REMARKS = (
    ('I think it is', '(a sunny day)'),
    ('I think it is sunny',),
    ('it seems to be', '(a cloudy day)'),
    ('(the weather)', 'looks nice'),
    ('(the weather)', 'seems to be good'),
)
"""Closing remarks about a scene with a sky."""

PRONOUNS = ('it', 'them')
JOINERS = ('and', 'of', 'on', ',', 'quite', 'all')
