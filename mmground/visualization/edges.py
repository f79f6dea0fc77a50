"""Arrows between phrases in a picture, with their weights."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from .caption import rounded_box
from .palette import phrase_color

_WHITE, _INK, _PALE = (255, 255, 255), (30, 30, 30), (150, 150, 150)
# How far an arrow bends to its left, as a share of its length: that of the other direction, which
# bends to its own left, runs beside it.
_BEND = 0.18


def draw_edges(
    panel: Image.Image,
    nodes: Mapping[int, tuple[float, float]],
    edges: np.ndarray,
    line_width: int,
    font,
    node_size: float,
) -> None:
    """Draw what phrases take from each other on an RGB picture, in place.

    An arrow from j to i has the colour of phrase j, and is the thicker the larger the weight
    ``edges[i, j]`` that stands beside it. An edge of weight 0 is a thin grey line.

    Args:
        panel: The picture.
        nodes: Where phrases stand, xy in pixels.
        edges: Shape (N, N), see :class:`PhrasePanel`.
        line_width: Of the picture's other lines, in pixels.
        font: Of the weights.
        node_size: Side of the squares around nodes where nothing is written, in pixels.
    """
    canvas = np.array(panel)
    half = node_size / 2
    arrows = [
        (receiver, sender, float(edges[receiver, sender]))
        for receiver, sender in np.argwhere(edges >= 0).tolist()
        if receiver in nodes and sender in nodes
    ]
    labels = []
    for receiver, sender, weight in sorted(arrows, key=lambda arrow: arrow[2]):
        curve = _curve(np.array(nodes[sender]), np.array(nodes[receiver]), half)
        color = phrase_color(sender) if weight else _PALE
        width = line_width + round(2 * line_width * weight)
        # A wider white line below keeps it visible on a ground of its colour.
        for paint, extra in ((_WHITE, 2), (color, 0)):
            _arrow(canvas, curve, paint, width, extra, head=weight > 0)
        labels.append((curve[len(curve) // 2], f'{weight:.2f}' if weight else '0', color))
    panel.paste(Image.fromarray(canvas))
    taken = [(x - half, y - half, x + half, y + half) for x, y in nodes.values()]
    for center, text, color in labels:
        _label(panel, center, text, color, font, taken)


def draw_leader(
    panel: Image.Image,
    center: tuple[float, float],
    place: tuple[float, float],
    color: tuple[int, int, int],
    line_width: int,
) -> None:
    """Draw a line from the middle of a box to its number, which stands elsewhere, in place.

    Args:
        panel: The picture.
        center: Middle of the box, xy in pixels.
        place: Where the number stands; a line without length is not drawn.
        color: Of the phrase.
        line_width: In pixels.
    """
    if tuple(center) == tuple(place):
        return
    draw, (x, y) = ImageDraw.Draw(panel), center
    for paint, extra in ((_WHITE, 1), (color, 0)):
        draw.line([x, y, *place], fill=paint, width=line_width + 2 * extra)
        half = 2 * line_width + extra
        draw.ellipse([x - half, y - half, x + half, y + half], fill=paint)


def _curve(start: np.ndarray, end: np.ndarray, gap: float) -> np.ndarray:
    """Points of an arc from one node to another, that keeps away from both. Shape (n, 2)."""
    across = np.array([start[1] - end[1], end[0] - start[0]])
    middle = (start + end) / 2 + 2 * _BEND * across
    t = np.linspace(0, 1, 65)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
    away = [np.linalg.norm(points - node, axis=1) >= gap for node in (start, end)]
    kept = points[away[0] & away[1]]
    # Of nodes that touch each other nothing would be left.
    return kept if len(kept) >= 2 else points


def _arrow(canvas: np.ndarray, curve: np.ndarray, color, width: int, extra: int, head: bool):
    points = curve.round().astype(np.int32)
    if not head:
        cv2.polylines(canvas, [points], False, color, max(width, 1) + extra, cv2.LINE_AA)
        return
    length = 4.5 * width + 4
    tip = curve[-1]
    near = np.linalg.norm(curve - tip, axis=1) < length
    back = curve[np.argmax(near)]
    direction = (tip - back) / max(np.linalg.norm(tip - back), 1e-6)
    across = np.array([-direction[1], direction[0]])
    base = tip - direction * length
    wings = [tip + direction * extra / 2] + [
        base - direction * extra / 2 + side * across * (0.45 * length + extra / 2)
        for side in (1, -1)
    ]
    shaft = np.concatenate((curve[~near], base[None])).round().astype(np.int32)
    cv2.polylines(canvas, [shaft], False, color, width + extra, cv2.LINE_AA)
    cv2.fillPoly(canvas, [np.array(wings).round().astype(np.int32)], color, cv2.LINE_AA)


def _label(panel: Image.Image, center, text: str, color, font, taken: list) -> None:
    """Write a weight near its place, where nothing is written yet, and say that it is taken."""
    half = np.array([font.getlength(text) / 2 + font.size * 0.3, font.size * 0.65])
    limit = np.maximum(np.array(panel.size) - half, half)
    steps = [np.zeros(2)] + [
        np.array(step) * half * 2.1
        for step in ((0, -1), (0, 1), (1, 0), (-1, 0), (1, -1), (-1, 1), (1, 1), (-1, -1))
    ]
    places = [np.clip(center + step, half, limit) for step in steps]
    free = (place for place in places if not _meets(place - half, place + half, taken))
    place = next(free, places[0])
    box = (*(place - half), *(place + half))
    taken.append(box)
    rounded_box(panel, box, half[1] * 0.5, _WHITE, color, 1.5)
    ImageDraw.Draw(panel).text(tuple(place), text, _INK, font, anchor='mm')


def _meets(low: np.ndarray, high: np.ndarray, taken: Sequence) -> bool:
    return any(
        low[0] < right and left < high[0] and low[1] < bottom and top < high[1]
        for left, top, right, bottom in taken
    )
