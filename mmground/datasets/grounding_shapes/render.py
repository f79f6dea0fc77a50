"""From a scene to pixels: a picture and the region of each pixel."""

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .outlines import rasterize
from .scene import Scene, Stuff, Thing

SUPERSAMPLE = 4

COLOR_RANGES = {
    'red': ((-0.02, 0.012), (0.78, 0.95), (0.72, 0.90)),
    'orange': ((0.068, 0.088), (0.82, 0.96), (0.90, 1.00)),
    'yellow': ((0.145, 0.170), (0.72, 0.92), (0.90, 1.00)),
    'green': ((0.30, 0.41), (0.65, 0.90), (0.42, 0.66)),
    'blue': ((0.595, 0.655), (0.70, 0.92), (0.60, 0.88)),
    'purple': ((0.745, 0.785), (0.50, 0.75), (0.45, 0.66)),
    'pink': ((0.89, 0.94), (0.32, 0.50), (0.92, 1.00)),
    'white': ((0.0, 1.0), (0.0, 0.04), (0.93, 1.00)),
    'black': ((0.0, 1.0), (0.0, 0.25), (0.07, 0.15)),
}
"""Colour name -> ranges of hue, saturation and value; apart enough to stay nameable."""

STUFF_COLOR_RANGES = {
    'sky': ((0.55, 0.62), (0.22, 0.48), (0.80, 0.96)),
    'mountain': ((0.03, 0.10), (0.12, 0.30), (0.36, 0.52)),
    'trees': ((0.27, 0.38), (0.45, 0.65), (0.22, 0.36)),
    'wall': ((0.02, 0.12), (0.18, 0.38), (0.62, 0.82)),
    'curtain': ((0.0, 1.0), (0.25, 0.45), (0.45, 0.70)),
    'grass': ((0.22, 0.31), (0.45, 0.65), (0.50, 0.70)),
    'sand': ((0.10, 0.125), (0.28, 0.42), (0.80, 0.92)),
    'snow': ((0.55, 0.62), (0.02, 0.08), (0.86, 0.96)),
    'water': ((0.50, 0.57), (0.45, 0.65), (0.48, 0.72)),
    'road': ((0.0, 1.0), (0.0, 0.06), (0.34, 0.46)),
    'floor': ((0.06, 0.09), (0.40, 0.55), (0.44, 0.60)),
    'carpet': ((0.0, 1.0), (0.30, 0.50), (0.40, 0.62)),
}


@dataclass(frozen=True)
class Rendering:
    """A rendered scene.

    Args:
        image: RGB, uint8, (size, size, 3).
        regions: Region number of each pixel (see :mod:`.scene`), int64, (size, size).
    """

    image: np.ndarray
    regions: np.ndarray


def render(scene: Scene, size: int, rng: np.random.Generator) -> Rendering:
    """Paint a scene, back to front.

    A region's edge is antialiased in the picture, and a pixel belongs to the region in
    front that covers at least half of it, so that picture and regions agree.

    Args:
        scene: What to paint.
        size: Side of the square picture in pixels.
        rng: Source of colour jitter, texture, lighting and noise.
    """
    light = rng.uniform(0, 2 * np.pi)
    # The first stuff covers the whole picture.
    image = _stuff_paint(scene.stuff[0].kind, size, rng)
    regions = np.zeros((size, size), dtype=np.int64)
    for number, region in enumerate(scene.regions[1:], start=1):
        rows, columns, coverage = rasterize(region.outline, size, SUPERSAMPLE)
        if isinstance(region, Stuff):
            paint = _stuff_paint(region.kind, size, rng)[rows, columns]
        else:
            paint = _thing_paint(region, size, rows, columns, light, rng)
        weight = (coverage / np.float32(255))[..., None]
        image[rows, columns] += weight * (paint - image[rows, columns])
        regions[rows, columns][coverage >= 128] = number
    return Rendering(image=_expose(image, light, rng), regions=regions)


def _draw_color(ranges, rng: np.random.Generator) -> np.ndarray:
    hue, saturation, value = (rng.uniform(*bounds) for bounds in ranges)
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), dtype=np.float32)


def _expose(image: np.ndarray, light: float, rng: np.random.Generator) -> np.ndarray:
    """Light from one side, brightness, colour cast and sensor noise; to uint8."""
    size = len(image)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    ramp = math.cos(light) * axis[None, :] + math.sin(light) * axis[:, None]
    gain = rng.uniform(0.88, 1.06) + rng.uniform(0.02, 0.10) * ramp
    cast = rng.uniform(0.96, 1.04, 3).astype(np.float32)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(0.008, 0.03)
    image = image * gain[..., None] * cast + noise
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _cloud(rng: np.random.Generator, size: int, rows: int, columns: int) -> np.ndarray:
    """Smooth noise of about unit variance with ``rows`` x ``columns`` bumps, (size, size)."""
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def _grain(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.standard_normal((size, size), dtype=np.float32)


def _shade_stuff(kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Brightness pattern of a kind of stuff around 0, float32, (size, size)."""
    axis = np.linspace(0, 1, size, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    phase = rng.random()
    if kind == 'sky':
        return 0.12 * y + 0.06 * np.maximum(_cloud(rng, size, 7, 4), 0)
    if kind == 'mountain':
        return 0.10 * _cloud(rng, size, 9, 18) + 0.05 * _grain(rng, size)
    if kind == 'trees':
        return 0.16 * _cloud(rng, size, 22, 22) + 0.04 * _grain(rng, size)
    if kind == 'grass':
        return 0.09 * _cloud(rng, size, 16, 60) + 0.05 * _cloud(rng, size, 4, 4)
    if kind == 'sand':
        ripples = np.sin(2 * np.pi * (9 * y + 0.4 * np.sin(7 * x + 6 * phase)))
        return 0.015 * ripples + 0.05 * _grain(rng, size)
    if kind == 'snow':
        return 0.03 * _cloud(rng, size, 5, 5) + 0.01 * _grain(rng, size)
    if kind == 'water':
        waves = np.sin(2 * np.pi * (16 * y + 0.5 * np.sin(11 * x + 6 * phase)))
        return 0.07 * waves + 0.05 * _cloud(rng, size, 14, 5)
    if kind == 'road':
        return 0.05 * _grain(rng, size) + 0.03 * _cloud(rng, size, 4, 8)
    if kind == 'wall':
        course = np.floor((y + phase) * 11)
        along = ((x + phase) * 6 + 0.5 * (course % 2)) % 1
        joint = (((y + phase) * 11) % 1 < 0.14) | (along < 0.07)
        return 0.03 * _cloud(rng, size, 11, 6) - 0.13 * joint.astype(np.float32)
    if kind == 'floor':
        board = (x + phase + 0.25 * (x - 0.5) * y) * 8
        joint = (board % 1 < 0.09).astype(np.float32)
        return 0.06 * _cloud(rng, size, 4, 26) - 0.13 * joint
    if kind == 'carpet':
        weave = (np.floor(x * 26) + np.floor(y * 26)) % 2
        return 0.10 * (weave - 0.5) + 0.03 * _grain(rng, size)
    if kind == 'curtain':
        folds = np.sin(2 * np.pi * (13 * x + 0.15 * np.sin(5 * y + 6 * phase)))
        return 0.12 * folds + 0.02 * _cloud(rng, size, 3, 12)
    raise KeyError(f'no texture for stuff of kind {kind!r}')


def _stuff_paint(kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
    color = _draw_color(STUFF_COLOR_RANGES[kind], rng)
    return color * (1 + 1.2 * _shade_stuff(kind, size, rng))[..., None]


def _thing_paint(
    thing: Thing,
    size: int,
    rows: slice,
    columns: slice,
    light: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Colour, stripes or dots, shading and a darker rim of a thing in its bounding box."""
    radius = thing.diameter / 2
    u = ((np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5) / size - thing.x) / radius
    v = ((np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) / size - thing.y) / radius
    u, v = u[None, :], v[:, None]
    color = _draw_color(COLOR_RANGES[thing.color], rng)
    second = _second_color(thing.color, color)
    # The marks of a small thing are larger in proportion, or few pixels could not show them.
    period = max(0.42, 0.05 / radius)
    turn = rng.uniform(0, np.pi)
    cosine, sine = math.cos(turn), math.sin(turn)
    along = (cosine * u + sine * v) / period + rng.random()
    across = (cosine * v - sine * u) / period + rng.random()
    if thing.texture == 'striped':
        marks = _edge(np.abs(along % 1 - 0.5) - 0.25, period * radius * size)
    elif thing.texture == 'dotted':
        distance = np.hypot(along % 1 - 0.5, across % 1 - 0.5)
        marks = _edge(0.30 - distance, period * radius * size)
    else:
        marks = np.zeros(np.broadcast_shapes(u.shape, v.shape), dtype=np.float32)
    paint = color + marks[..., None] * (second - color)
    shade = 1 + rng.uniform(0.04, 0.14) * (math.cos(light) * u + math.sin(light) * v)
    rim_rows, rim_columns, rim = rasterize(
        thing.outline, size, SUPERSAMPLE, line_width=0.016 * size
    )
    assert (rim_rows, rim_columns) == (rows, columns)
    shade = shade * (1 - 0.35 * rim / np.float32(255))
    return paint * shade[..., None]


def _edge(distance: np.ndarray, pixels_per_unit: float) -> np.ndarray:
    """Antialiased step: 1 where the signed distance (in periods) is positive."""
    return np.clip(distance * pixels_per_unit + 0.5, 0, 1).astype(np.float32)


def _second_color(name: str, color: np.ndarray) -> np.ndarray:
    """The colour of stripes and dots: a darker or lighter shade that keeps the name."""
    if name in ('white', 'yellow', 'pink', 'orange'):
        return color * np.float32(0.62)
    return color + np.float32(0.52) * (1 - color)
