"""Contours of things and stuff, and their rasterisation.

An outline is a tuple of (P, 2) float arrays of (x, y) points in unit coordinates
(fractions of the image side); the first contour is filled, the others are holes in it.
"""

import numpy as np
from PIL import Image, ImageDraw

Outline = tuple[np.ndarray, ...]


def rasterize(
    outline: Outline, size: int, supersample: int, line_width: float = 0.0
) -> tuple[slice, slice, np.ndarray]:
    """How much of each pixel an outline covers, inside its bounding box.

    Args:
        outline: Contours in unit coordinates; parts outside the picture are clipped.
        size: Side of the picture in pixels.
        supersample: Samples per pixel and axis.
        line_width: If positive, only a line of about this width (pixels) along the
            contours is covered.

    Returns:
        Row slice and column slice of the bounding box, and the coverage in it, uint8,
        (rows, columns), 255 for fully covered.
    """
    lower = np.clip(np.floor(outline[0].min(axis=0) * size), 0, size).astype(int)
    upper = np.clip(np.ceil(outline[0].max(axis=0) * size), 0, size).astype(int)
    width, height = (int(extent) for extent in np.maximum(upper - lower, 0))
    rows = slice(int(lower[1]), int(lower[1]) + height)
    columns = slice(int(lower[0]), int(lower[0]) + width)
    if width == 0 or height == 0:
        return rows, columns, np.zeros((height, width), dtype=np.uint8)
    canvas = Image.new('L', (width * supersample, height * supersample))
    draw = ImageDraw.Draw(canvas)
    for number, contour in enumerate(outline):
        # Pillow's points are pixel centres.
        points = (contour * size - lower) * supersample - 0.5
        points = points.ravel().tolist()
        if line_width > 0:
            draw.line(
                [*points, *points[:4]],
                fill=255,
                width=max(1, round(line_width * supersample)),
            )
        else:
            draw.polygon(points, fill=0 if number else 255)
    if supersample > 1:
        canvas = canvas.reduce(supersample)
    return rows, columns, np.asarray(canvas)


def _circle(radius: float = 1.0, points: int = 48) -> np.ndarray:
    theta = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return radius * np.stack([np.cos(theta), np.sin(theta)], axis=1)


def _star() -> np.ndarray:
    theta = -np.pi / 2 + np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2 == 0, 1.0, 0.45)
    return radius[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    points = np.stack([x, y], axis=1)
    points -= (points.max(axis=0) + points.min(axis=0)) / 2
    return points / np.linalg.norm(points, axis=1).max()


def _crescent() -> np.ndarray:
    # The unit disc minus a disc of radius 0.85 whose centre is moved by 0.5.
    shift, radius = 0.5, 0.85
    corner = (1 - radius**2 + shift**2) / (2 * shift)
    outer = np.arccos(corner)
    inner = np.arctan2(np.sqrt(1 - corner**2), corner - shift)
    theta = np.linspace(outer, 2 * np.pi - outer, 32)
    phi = np.linspace(2 * np.pi - inner, inner, 24)
    bow = np.stack([np.cos(theta), np.sin(theta)], axis=1)
    bite = np.stack([shift + radius * np.cos(phi), radius * np.sin(phi)], axis=1)
    return np.concatenate([bow, bite])


def _flower() -> np.ndarray:
    theta = np.linspace(0, 2 * np.pi, 75, endpoint=False)
    radius = 0.70 + 0.30 * np.cos(5 * theta)
    return radius[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=1)


_ARM = 0.3
_THINGS = {
    'ball': (_circle(),),
    'box': (0.76 * np.array([(-1.0, -1.0), (1, -1), (1, 1), (-1, 1)]),),
    'triangle': (np.array([(0, -1), (0.87, 0.5), (-0.87, 0.5)]),),
    'star': (_star(),),
    'cross': (
        np.array(
            [
                (-_ARM, -0.95),
                (_ARM, -0.95),
                (_ARM, -_ARM),
                (0.95, -_ARM),
                (0.95, _ARM),
                (_ARM, _ARM),
                (_ARM, 0.95),
                (-_ARM, 0.95),
                (-_ARM, _ARM),
                (-0.95, _ARM),
                (-0.95, -_ARM),
                (-_ARM, -_ARM),
            ]
        ),
    ),
    'ring': (_circle(), _circle(0.5)),
    'heart': (_heart(),),
    'diamond': (np.array([(0, -1), (0.68, 0), (0, 1), (-0.68, 0)]),),
    'arrow': (
        np.array(
            [(-1, -0.26), (0.1, -0.26), (0.1, -0.7), (1, 0), (0.1, 0.7), (0.1, 0.26), (-1, 0.26)]
        ),
    ),
    'crescent': (_crescent(),),
    'house': (
        np.array(
            [
                (0, -1),
                (0.85, -0.2),
                (0.62, -0.2),
                (0.62, 0.75),
                (-0.62, 0.75),
                (-0.62, -0.2),
                (-0.85, -0.2),
            ]
        ),
        np.array([(-0.16, 0.75), (-0.16, 0.25), (0.16, 0.25), (0.16, 0.75)]),
    ),
    'flower': (_flower(), _circle(0.22, 20)),
}


def thing_outline(kind: str, x: float, y: float, radius: float, angle: float) -> Outline:
    """The contours of a thing.

    Args:
        kind: A key of :data:`.lexicon.THINGS`.
        x, y: Centre in unit coordinates.
        radius: Of the circle around the shape, fraction of the image side.
        angle: Clockwise rotation in radians.
    """
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.array([(cosine, sine), (-sine, cosine)])
    return tuple((radius * contour) @ rotation + (x, y) for contour in _THINGS[kind])


_COLUMNS = np.linspace(-0.1, 1.1, 49)


def _waves(rng: np.random.Generator, amplitude: float, cycles: tuple[float, ...]) -> np.ndarray:
    """An irregular line: a slope and a few sinusoids of random phase, at `_COLUMNS`."""
    line = rng.uniform(-0.5, 0.5) * amplitude * (_COLUMNS - 0.5) * 2
    for count in cycles:
        phase = 2 * np.pi * (count * rng.uniform(0.8, 1.25) * _COLUMNS + rng.random())
        line = line + amplitude * rng.uniform(0.3, 1.0) * np.sin(phase) / np.sqrt(count)
    return line


def _below(edge: np.ndarray) -> Outline:
    """Everything below a line of heights at `_COLUMNS`."""
    top = np.stack([_COLUMNS, edge], axis=1)
    return (np.concatenate([top, [(1.1, 1.1), (-0.1, 1.1)]]),)


def _ground(height: float, rng: np.random.Generator) -> Outline:
    return _below(height + _waves(rng, 0.035, (1.0, 2.3, 5.0)))


def _flat(height: float, rng: np.random.Generator) -> Outline:
    return _below(height + _waves(rng, 0.012, (1.0, 3.0, 7.0)))


def _peaks(height: float, rng: np.random.Generator) -> Outline:
    peaks = int(rng.integers(2, 4))
    knots = np.linspace(-0.1, 1.1, 2 * peaks + 1) + rng.uniform(-0.05, 0.05, 2 * peaks + 1)
    heights = np.where(np.arange(2 * peaks + 1) % 2 == 0, height + 0.13, height - 0.08)
    heights = heights + rng.uniform(-0.04, 0.04, 2 * peaks + 1)
    return _below(np.interp(_COLUMNS, knots, heights) + _waves(rng, 0.008, (9.0, 15.0)))


def _crowns(height: float, rng: np.random.Generator) -> Outline:
    phase = np.pi * (rng.uniform(4, 6) * _COLUMNS + rng.random())
    return _below(height - 0.06 * np.abs(np.sin(phase)) + _waves(rng, 0.03, (1.0, 7.0, 11.0)))


def _hanging(width: float, rng: np.random.Generator) -> Outline:
    edge = width + _waves(rng, 0.015, (1.0, 3.0, 6.0))
    side = np.stack([edge, _COLUMNS], axis=1)
    outline = np.concatenate([side, [(-0.1, 1.1), (-0.1, -0.1)]])
    if rng.random() < 0.5:
        outline = np.stack([1 - outline[:, 0], outline[:, 1]], axis=1)
    return (outline,)


STUFF_EDGES = {
    'mountain': _peaks,
    'trees': _crowns,
    'grass': _ground,
    'sand': _ground,
    'snow': _ground,
    'road': _flat,
    'water': _flat,
    'floor': _flat,
    'curtain': _hanging,
}
"""Kind -> ``outline(height, rng)``: all below an irregular edge at that height (unit
coordinates). A curtain hangs at the left or right side instead, of that width."""


def patch_outline(rng: np.random.Generator) -> Outline:
    """A wide blob in the lower part of the picture: a pond, a piece of road, a carpet."""
    theta = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = 1 + 0.10 * np.sin(2 * theta + rng.uniform(0, 6)) * rng.uniform(0.4, 1)
    radius = radius + 0.08 * np.sin(3 * theta + rng.uniform(0, 6)) * rng.uniform(0.4, 1)
    half = (rng.uniform(0.28, 0.48), rng.uniform(0.10, 0.16))
    center = (rng.uniform(0.3, 0.7), rng.uniform(0.80, 0.90))
    return (radius[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=1) * half + center,)
