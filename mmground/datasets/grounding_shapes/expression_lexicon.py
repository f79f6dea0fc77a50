"""Words and forms of referring expressions, beside those of :mod:`.lexicon`.

Apart from them so that the vocabulary's ids of the narratives' words do not depend on these
(see :mod:`.vocab`).
"""

UNNAMED = (('thing', 'things'), ('shape', 'shapes'), ('object', 'objects'))
"""Names of a thing whose kind is not told, in short expressions."""

MARKS = {'striped': 'with stripes', 'dotted': 'with dots'}
"""Texture -> what may follow the name instead of the adjective."""

CORNERS = {
    'top left': ('top', 'left'),
    'top right': ('top', 'right'),
    'bottom left': ('bottom', 'left'),
    'bottom right': ('bottom', 'right'),
}
"""Corner of the picture -> the two places that meet in it."""

COMPARISONS = {
    'smaller': ('smaller',),
    'larger': ('bigger', 'larger'),
    'smallest': ('smallest',),
    'largest': ('biggest', 'largest'),
    'left': ('left', 'leftmost'),
    'right': ('right', 'rightmost'),
    'upper': ('top', 'upper'),
    'lower': ('bottom', 'lower'),
    'leftmost': ('leftmost',),
    'rightmost': ('rightmost',),
    'topmost': ('topmost', 'highest'),
    'lowest': ('lowest',),
    'second from the left': ('second',),
    'second from the right': ('second',),
}
"""How a thing compares to others of which the same can be said -> adjectives, of which the last
can do without the noun: "the larger of the two". The forms for two come before those for more.
"""

SIZE_COMPARISONS = frozenset({'smaller', 'larger', 'smallest', 'largest'})
"""The comparisons of size; the others are of place."""

ENDS = {'second from the left': ('from', 'left'), 'second from the right': ('from', 'right')}
"""Comparison -> preposition and end of the row from which one counts."""

SHORT_RELATIONS = {'left of': ('left of',), 'right of': ('right of',)}
"""Relation -> prepositions of short expressions, beside those of all."""

UNLOCATED_RELATIONS = frozenset({'next to', 'in front of', 'behind', 'on'})
"""Relations that do not say where in the picture a thing is."""

RELATIVE_CLAUSES = ('that is', 'which is')
CORNER = 'corner'
"""What a corner is called: "in the top left corner"."""
