"""What a scene is, and how one is drawn at random.

A scene has no pixels: positions and lengths are fractions of the image side (x to the
right, y down, origin at the top-left corner), so that one scene can be rendered at any
size. Its regions are numbered: stuff first, in painting order, then things, from back to
front. ``region = len(scene.stuff) + thing``.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from .lexicon import COLORS, THINGS
from .outlines import STUFF_EDGES, Outline, patch_outline, rasterize, thing_outline

GRID = 72
"""Side of the coarse grid on which visibility is judged, whatever the rendered size."""

SIZE_RANGES = {'small': (0.14, 0.19), 'medium': (0.22, 0.28), 'large': (0.33, 0.40)}
"""Diameter of a thing; the gaps keep "small" and "large" beyond dispute."""

MIN_VISIBLE = 0.55
"""Part of a thing (inside the frame) that others must leave visible."""

MIN_THING_AREA = 0.005
MIN_STUFF_AREA = 0.04
"""Visible area as a fraction of the image."""

SPLIT_CODES = {'train': 1, 'val': 2, 'test': 3}
"""Last digit of an image id, and part of each image's seed: splits never share a seed."""


@dataclass(frozen=True)
class Thing:
    """A countable shape.

    Args:
        kind: A key of :data:`.lexicon.THINGS`.
        color: One of :data:`.lexicon.COLORS`.
        size: ``small``, ``medium`` or ``large``.
        texture: ``plain``, ``striped`` or ``dotted``.
        x: Horizontal centre, fraction of the image side.
        y: Vertical centre.
        diameter: Of the circle around the shape, fraction of the image side.
        angle: Rotation in radians.
    """

    kind: str
    color: str
    size: str
    texture: str
    x: float
    y: float
    diameter: float
    angle: float

    @property
    def outline(self) -> Outline:
        """Contours in unit coordinates, the outer one first, then holes."""
        return thing_outline(self.kind, self.x, self.y, self.diameter / 2, self.angle)


@dataclass(frozen=True)
class Stuff:
    """An amorphous region; a scene has at most one of a kind.

    Args:
        kind: A key of :data:`.lexicon.STUFF`.
        outline: Contours in unit coordinates; later regions cover it.
    """

    kind: str
    outline: Outline


@dataclass(frozen=True)
class Scene:
    """Stuff and things, with what the language needs to know of their layout.

    Args:
        stuff: In painting order; the first covers the whole picture.
        things: From back to front, painted after all stuff.
        footing: Part of each thing that lies over each stuff region, (T, S).
        overlap: ``overlap[i, j]`` is the part of thing j that thing i, in front of it,
            hides, (T, T).
    """

    stuff: tuple[Stuff, ...]
    things: tuple[Thing, ...]
    footing: np.ndarray
    overlap: np.ndarray

    @property
    def regions(self) -> tuple[Stuff | Thing, ...]:
        """All regions in painting order; a region's number is its index here."""
        return self.stuff + self.things

    def is_thing(self, region: int) -> bool:
        """Whether a region number is a thing's."""
        return region >= len(self.stuff)

    def region_of_thing(self, thing: int) -> int:
        """The region number of ``things[thing]``."""
        return len(self.stuff) + thing

    def region_of_stuff(self, kind: str) -> int:
        """The region number of the stuff of one kind."""
        return [stuff.kind for stuff in self.stuff].index(kind)


def image_rng(seed: int, split: str, index: int, stream: str) -> np.random.Generator:
    """The random numbers of one aspect of one image.

    They depend on nothing else, so that an image is the same whichever process makes it
    and whichever formats are written.

    Args:
        seed: Seed of the data set.
        split: A key of :data:`SPLIT_CODES`.
        index: The image's number in its split, from 0.
        stream: Name of the aspect: ``scene``, ``pixels``, or a format's.
    """
    return np.random.default_rng(
        [seed, SPLIT_CODES[split], index, zlib.crc32(stream.encode('ascii'))]
    )


def image_id(split: str, index: int) -> int:
    """A positive id that no other image of any split has; the last digit tells the split."""
    return 10 * (index + 1) + SPLIT_CODES[split]


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene: 2-4 stuff regions and 3-8 things, most with look-alikes.

    Every region keeps a minimum visible area, and things of one colour do not touch.

    Args:
        rng: Source of all randomness.
    """
    while True:
        stuff = _draw_stuff(rng)
        ground = np.zeros((GRID, GRID), dtype=np.int64)
        for number, region in enumerate(stuff):
            ground[_mask(region.outline)] = number
        things, masks = _place_things(_draw_specs(rng), rng)
        if len(things) < 3:
            continue
        covered = np.any(masks, axis=0)
        visible = np.bincount(ground[~covered], minlength=len(stuff))
        if visible.min() < MIN_STUFF_AREA * GRID**2:
            continue
        return Scene(
            stuff=stuff,
            things=things,
            footing=_footing(masks, ground, len(stuff)),
            overlap=_overlap(masks),
        )


def _mask(outline: Outline) -> np.ndarray:
    mask = np.zeros((GRID, GRID), dtype=bool)
    rows, columns, coverage = rasterize(outline, GRID, supersample=2)
    mask[rows, columns] = coverage >= 128
    return mask


def _choice(rng: np.random.Generator, options, weights=None):
    """One of ``options`` (kept as a Python object, unlike ``Generator.choice``)."""
    options = tuple(options)
    if weights is None:
        return options[rng.integers(len(options))]
    weights = np.asarray(weights, dtype=np.float64)
    return options[rng.choice(len(options), p=weights / weights.sum())]


def _draw_stuff(rng: np.random.Generator) -> tuple[Stuff, ...]:
    """A backdrop, bands in front of it, and sometimes a patch or a curtain."""
    layers = []

    def band(kind, low, high):
        layers.append(Stuff(kind, STUFF_EDGES[kind](rng.uniform(low, high), rng)))

    full = (np.array([(-0.1, -0.1), (1.1, -0.1), (1.1, 1.1), (-0.1, 1.1)]),)
    if rng.random() < 0.7:
        layers.append(Stuff('sky', full))
        behind = _choice(rng, ('mountain', 'trees', 'water', None), (0.3, 0.3, 0.15, 0.25))
        if behind is not None:
            band(behind, 0.22, 0.38)
        ground = _choice(rng, ('grass', 'sand', 'snow', 'road', 'water'), (3, 2, 2, 1.5, 1.5))
        if ground == behind:
            ground = 'sand'
        band(ground, 0.52, 0.70)
        patches = [kind for kind in ('road', 'water') if kind not in (behind, ground)]
        if patches and rng.random() < 0.3:
            layers.append(Stuff(_choice(rng, patches), patch_outline(rng)))
    else:
        layers.append(Stuff('wall', full))
        if rng.random() < 0.5:
            layers.append(Stuff('curtain', STUFF_EDGES['curtain'](rng.uniform(0.22, 0.36), rng)))
        band('floor', 0.50, 0.68)
        if rng.random() < 0.5:
            layers.append(Stuff('carpet', patch_outline(rng)))
    return tuple(layers)


def _draw_specs(rng: np.random.Generator) -> list[dict]:
    """Kind, colour, size and texture of each thing, with look-alikes among them."""

    def fresh():
        return dict(
            kind=_choice(rng, THINGS),
            color=_choice(rng, COLORS),
            size=_choice(rng, SIZE_RANGES, (0.35, 0.37, 0.28)),
            texture=_choice(rng, ('plain', 'striped', 'dotted'), (0.6, 0.2, 0.2)),
        )

    total = int(rng.integers(4, 9))
    specs = [fresh()]
    if rng.random() < 0.65:
        # A group that a plural can name: one kind and one colour.
        twins = _choice(rng, (1, 2), (0.65, 0.35))
        specs += [fresh() | {key: specs[0][key] for key in ('kind', 'color')} for _ in range(twins)]
    while len(specs) < total:
        spec, model = fresh(), _choice(rng, specs)
        shared = _choice(rng, ((), ('kind',), ('color',)), (0.25, 0.5, 0.25))
        specs.append(spec | {key: model[key] for key in shared})
    # Large things first, so that they stand behind; ties and near-ties in random order.
    rank = {'large': 0.0, 'medium': 0.6, 'small': 1.2}
    keys = [rank[spec['size']] + rng.random() for spec in specs]
    return [specs[index] for index in np.argsort(keys)]


def _place_things(
    specs: list[dict], rng: np.random.Generator
) -> tuple[tuple[Thing, ...], list[np.ndarray]]:
    """Place things from back to front; one that finds no room is left out.

    Returns:
        The things, and the mask of each on the coarse grid as if nothing were in front.
    """
    things, masks, visible = [], [], []
    for spec in specs:
        for _ in range(25):
            diameter = rng.uniform(*SIZE_RANGES[spec['size']])
            margin = 0.42 * diameter
            thing = Thing(
                **spec,
                x=rng.uniform(margin, 1 - margin),
                y=rng.uniform(margin, 1 - margin),
                diameter=diameter,
                angle=_draw_angle(spec['kind'], rng),
            )
            if any(_too_close(thing, other) for other in things):
                continue
            mask = _mask(thing.outline)
            if mask.sum() < MIN_THING_AREA * GRID**2:
                continue
            left = [old & ~mask for old in visible]
            if all(
                after.sum() >= max(MIN_VISIBLE * full.sum(), MIN_THING_AREA * GRID**2)
                for after, full in zip(left, masks, strict=True)
            ):
                things.append(thing)
                masks.append(mask)
                visible = [*left, mask]
                break
    return tuple(things), masks


def _draw_angle(kind: str, rng: np.random.Generator) -> float:
    """Any rotation that leaves the kind recognisable (a box must not become a diamond)."""
    if kind in ('star', 'arrow', 'crescent', 'flower', 'ball', 'ring'):
        return rng.uniform(0, 2 * np.pi)
    return rng.uniform(-0.3, 0.3)


def _too_close(thing: Thing, other: Thing) -> bool:
    """Things of one colour must not touch, and none may hide in another's middle."""
    distance = np.hypot(thing.x - other.x, thing.y - other.y)
    reach = (thing.diameter + other.diameter) / 2
    return distance < (1.02 if thing.color == other.color else 0.6) * reach


def _footing(masks: list[np.ndarray], ground: np.ndarray, stuff: int) -> np.ndarray:
    counts = [np.bincount(ground[mask], minlength=stuff) / mask.sum() for mask in masks]
    return np.stack(counts)


def _overlap(masks: list[np.ndarray]) -> np.ndarray:
    flat = np.stack(masks).reshape(len(masks), -1).astype(np.float64)
    shared = flat @ flat.T / flat.sum(axis=1)
    return np.tril(shared, k=-1)  # only a later thing (row) hides an earlier one (column)
