"""A reader of generated texts that shares nothing with their writer: its own word lists and
sharp thresholds."""

import numpy as np

from mmground.datasets.grounding_shapes.outlines import rasterize

KINDS = dict.fromkeys(
    ['triangle', 'star', 'cross', 'ring', 'heart', 'diamond', 'arrow', 'house', 'flower']
)
KINDS = {kind: kind for kind in KINDS} | dict(
    ball='ball', circle='ball', box='box', square='box', crescent='crescent', moon='crescent'
)
KINDS |= {f'{word}{"es" if word[-1] in "sx" else "s"}': kind for word, kind in KINDS.items()}
SIZES = dict(small='small', little='small', large='large', big='large')
TEXTURES = dict(plain='plain', striped='striped', dotted='dotted', spotted='dotted')
TEXTURES |= dict(stripes='striped', dots='dotted')
COLORS = ['red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'white', 'black']
FILLERS = ['a', 'an', 'the', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight']
FILLERS += ['some', 'few', 'several', 'shape', 'shapes', 'object', 'objects', 'thing', 'with']
STUFF = dict(sky='sky', mountains='mountain', mountain='mountain', trees='trees', wall='wall')
STUFF |= dict(curtain='curtain', grass='grass', sand='sand', snow='snow', water='water')
STUFF |= dict(road='road', floor='floor', carpet='carpet')
PLACES = {
    'left': lambda t: t.x < 0.43,
    'right': lambda t: t.x > 0.57,
    'top': lambda t: t.y < 0.43,
    'upper part': lambda t: t.y < 0.43,
    'bottom': lambda t: t.y > 0.57,
    'lower part': lambda t: t.y > 0.57,
    'middle': lambda t: max(abs(t.x - 0.5), abs(t.y - 0.5)) < 0.2,
    'center': lambda t: max(abs(t.x - 0.5), abs(t.y - 0.5)) < 0.2,
}


def words_fit(phrase, thing, deaf_to_size=False):
    """Whether each word of a noun phrase is true of a thing."""
    words = phrase.split()
    for word in words:
        if word in KINDS:
            fits = KINDS[word] == thing.kind
        elif word in SIZES:
            fits = SIZES[word] == thing.size or deaf_to_size
        elif word in TEXTURES:
            fits = TEXTURES[word] == thing.texture
        elif word in COLORS:
            fits = word == thing.color
        else:
            assert word in FILLERS, phrase
            fits = True
        if not fits:
            return False
    return True


class Layout:
    """Where the regions of a scene are, on masks of its own."""

    def __init__(self, scene, size=160):
        self.scene = scene
        self.masks = []
        self.ground = np.zeros((size, size), dtype=int)
        for number, region in enumerate(scene.regions):
            mask = np.zeros((size, size), dtype=bool)
            rows, columns, coverage = rasterize(region.outline, size, 2)
            mask[rows, columns] = coverage >= 128
            self.masks.append(mask)
            if number < len(scene.stuff):
                self.ground[mask] = number

    def related(self, thing, word, region):
        """Whether a thing stands in the relation that a preposition names to a region."""
        scene, own = self.scene, self.scene.region_of_thing(thing)
        if own == region:
            return False
        if not scene.is_thing(region):
            return (self.ground[self.masks[own]] == region).mean() > 0.4
        one, two = scene.regions[own], scene.regions[region]
        shared = (self.masks[own] & self.masks[region]).sum()
        if word == 'in front of':
            return own > region and shared > 0.025 * self.masks[region].sum()
        if word == 'behind':
            return own < region and shared > 0.025 * self.masks[own].sum()
        dx, dy = one.x - two.x, one.y - two.y
        if word in ('next to', 'beside', 'near'):
            return np.hypot(dx, dy) - one.diameter / 2 - two.diameter / 2 < 0.145
        if 'left' in word or 'right' in word:
            along, across = (-dx if 'left' in word else dx), dy
        else:
            along, across = (-dy if word in ('above', 'over') else dy), dx
        return along > 0.07 and along - abs(across) > -0.05
