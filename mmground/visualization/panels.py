"""Pages of panels: an image, and beside it what is drawn over it."""

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from mmground.structures import GroundingDataSample

_DPI = 120
_PANEL_INCHES = 3.2
_TITLE_INCHES = 2.2
_MARGIN = 10
_MAX_COLUMNS = 5


def check_image(image: np.ndarray, sample: GroundingDataSample) -> None:
    """Raise a ValueError unless it is a sample's original image, RGB, (H, W, 3) uint8."""
    shape = (*sample.geometry.ori_shape, 3)
    if image.shape != shape or image.dtype != np.uint8:
        raise ValueError(
            f'the image of sample {sample.get("sample_id")!r} must be RGB, uint8, of shape '
            f'{shape}, got {image.dtype} {image.shape}'
        )


def panel_page(image: np.ndarray, count: int, title: str) -> tuple[Figure, list[Axes]]:
    """A figure with the image as its first panel, and the axes of further ones.

    Args:
        image: RGB, (H, W, 3) uint8.
        count: Panels beside the image.
        title: Of the page, plain text.

    Returns:
        The figure, of which ``axes[0]`` is the image, and the axes of the other panels, with
        continuous pixels of the image as coordinates.
    """
    height, width = image.shape[:2]
    rows = math.ceil((count + 1) / _MAX_COLUMNS)
    columns = math.ceil((count + 1) / rows)
    scale = _PANEL_INCHES / max(height, width)
    # A narrow panel still has room for its title, and an inch of the page's has ten letters.
    page_width = max(width * scale, _TITLE_INCHES) * columns + 1
    title = textwrap.fill(title, round(10 * page_width))
    size = (page_width, (height * scale + 0.75) * rows + 0.2 * (title.count('\n') + 2))
    # Not through pyplot: no global state and no display are touched.
    figure = Figure(figsize=size, dpi=_DPI, layout='constrained')
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[count + 1 :]:
        axes.remove()
    for axes in panels[: count + 1]:
        axes.set_axis_off()
        # What lies outside of the image must not make room for itself.
        axes.set_autoscale_on(False)
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.set_aspect('equal')
    panels[0].imshow(image, extent=pixel_extent(image))
    set_title(panels[0], 'image')
    figure.suptitle(title, fontsize=11, parse_math=False)
    return figure, panels[1 : count + 1]


def set_title(axes: Axes, text: str) -> None:
    """Give a panel a title, plain text."""
    axes.set_title(text, fontsize=8.5, parse_math=False)


def pixel_extent(image: np.ndarray) -> tuple[int, int, int, int]:
    """Where ``imshow`` puts an image: pixel i covers [i, i + 1)."""
    return 0, image.shape[1], image.shape[0], 0


def grey_image(image: np.ndarray, brightness: float) -> np.ndarray:
    """The image without its colours, which would be confused with those drawn on it."""
    luma = image @ np.array([0.299, 0.587, 0.114])
    return np.repeat(luma[..., None] * brightness, 3, -1)


def colour_bar(figure: Figure, colors: ScalarMappable, label: str) -> None:
    """Put a colour bar beside the panels of a page."""
    left, right = figure.axes[0].get_xlim()
    bottom, top = figure.axes[0].get_ylim()
    panel = _PANEL_INCHES * min((right - left) / (bottom - top), 1)
    # The layout does not know how far the title of a narrow panel stands out.
    pad = 0.01 + max(_TITLE_INCHES - panel, 0) / 2 / figure.get_figwidth()
    bar = figure.colorbar(colors, ax=figure.axes, shrink=0.9, pad=pad, aspect=25)
    bar.set_label(label, fontsize=8.5)
    bar.ax.tick_params(labelsize=8)


def render_figure(figure: Figure) -> np.ndarray:
    """A page as an RGB picture, (height, width, 3) uint8, cut to what is drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3]
    # What goes beside the panels has no size that is known before: the rest is blank.
    inked = (picture < 255).any(-1)
    area = []
    for axis in (1, 0):
        places = np.flatnonzero(inked.any(axis))
        area.append(slice(places[0], places[-1] + 1))
    margins = ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0))
    return np.pad(picture[tuple(area)], margins, constant_values=255)
