"""What the annotation files call the kinds of things and stuff."""

from .lexicon import COLORS, STUFF, TEXTURES, THINGS

DESCRIPTION = 'Grounding Shapes'
"""What tells the annotation files of generated data from COCO's."""

CATEGORIES = tuple(
    dict(id=first + number, name=kind, supercategory=supercategory, isthing=isthing)
    for first, kinds, supercategory, isthing in ((1, THINGS, 'shape', 1), (101, STUFF, 'stuff', 0))
    for number, kind in enumerate(kinds)
)
"""COCO panoptic categories: a kind of thing or stuff each."""

THING_CATEGORIES = tuple(
    {key: category[key] for key in ('id', 'name', 'supercategory')}
    for category in CATEGORIES
    if category['isthing']
)
"""COCO detection categories: things only."""

CATEGORY_IDS = {category['name']: category['id'] for category in CATEGORIES}

ATTRIBUTES = tuple(
    dict(id=number, name=name) for number, name in enumerate((*COLORS, *TEXTURES), start=1)
)
"""What is said of a thing besides its kind and its size."""

ATTRIBUTE_IDS = {attribute['name']: attribute['id'] for attribute in ATTRIBUTES}
