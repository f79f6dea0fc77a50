"""Draw the data flow of a grounder: ``images/architecture.svg`` of the documentation.

Example::

    python docs/en/_scripts/draw_architecture.py docs/en/images/architecture.svg
"""

import argparse
from collections.abc import Sequence
from itertools import pairwise

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

# One colour per role; fill, edge.
PIXELS = ('#dcebfa', '#2f6fae')
WORDS = ('#fdeccf', '#c27c0e')
HEAD = ('#e2f2df', '#3d8b37')
OUTPUT = ('#f3e3f5', '#8e44a0')
SAMPLE = ('#f0f1f3', '#7a808a')
INK = '#22262b'
PALE = '#5b626b'


class Drawing:
    """Boxes and arrows on a canvas of 100 x 56 units, y downwards."""

    def __init__(self) -> None:
        self.figure = Figure(figsize=(13, 7.28))
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, 100), ylim=(56, 0))
        self.axes.axis('off')

    def frame(self, x, y, width, height, colors, dashed=False, line_width=1.4, zorder=2):
        """A rectangle with round corners; x and y are its left and upper side."""
        fill, edge = colors
        self.axes.add_patch(
            FancyBboxPatch(
                (x + 0.6, y + 0.6),
                width - 1.2,
                height - 1.2,
                boxstyle='round,pad=0.6',
                facecolor=fill,
                edgecolor=edge,
                linewidth=line_width,
                linestyle=(0, (4, 3)) if dashed else 'solid',
                zorder=zorder,
            )
        )

    def box(self, x, y, width, height, title, detail='', colors=SAMPLE, **style):
        """A box with a title and smaller lines below it."""
        self.frame(x, y, width, height, colors, **style)
        lines = detail.count('\n') + 1 if detail else 0
        middle = y + height / 2
        self.text(x + width / 2, middle - 0.86 * lines, title, 11.5, weight='bold')
        if detail:
            self.text(x + width / 2, middle + 1.12, detail, 9.2, PALE)

    def text(self, x, y, text, size=9.2, color=INK, ha='center', **style):
        """Text around its middle."""
        self.axes.text(
            x, y, text, fontsize=size, color=color, ha=ha, va='center', zorder=5,
            linespacing=1.3, **style
        )  # fmt: skip

    def arrow(self, *points, label='', color=INK, at=None, dashed=False):
        """An arrow through points (x, y), labelled in the middle or at a place."""
        for start, end in pairwise(points):
            last = end == points[-1]
            self.axes.add_patch(
                FancyArrowPatch(
                    start,
                    end,
                    arrowstyle='-|>' if last else '-',
                    mutation_scale=13,
                    shrinkA=0,
                    shrinkB=0,
                    linewidth=1.5,
                    linestyle=(0, (4, 3)) if dashed else 'solid',
                    color=color,
                    zorder=3,
                )
            )
        if label:
            (x1, y1), (x2, y2) = points[0], points[-1]
            x, y = at or ((x1 + x2) / 2, (y1 + y2) / 2 - 1.6)
            self.text(x, y, label, 8.8, PALE)


def draw() -> Figure:
    """The picture."""
    d = Drawing()

    # What goes in.
    d.box(1, 4, 13, 9, 'B images', 'unique in the batch\n(B, 3, H, W)', PIXELS)
    d.box(1, 26, 13, 9, 'T texts', 'several may share\nan image', WORDS)

    # Pixels.
    d.arrow((14, 8.5), (19, 8.5), color=PIXELS[1])
    d.box(19, 4, 12, 9, 'backbone', 'ResNet-101\nstrides 4 to 32', PIXELS)
    d.arrow((31, 8.5), (35, 8.5), color=PIXELS[1])
    d.box(35, 4, 14, 9, 'neck', 'FPN, semantic FPN\nF  (B, 256, H/8, W/8)', PIXELS)
    d.text(34, 1.8, 'encode_image: pixels only, once per image', 9.6, PIXELS[1])

    # Words.
    d.arrow((14, 30.5), (19, 30.5), color=WORDS[1])
    d.box(19, 26, 12, 9, 'text_encoder', 'BERT\npieces  (T, L, 768)', WORDS)
    d.arrow((31, 30.5), (35, 30.5), color=WORDS[1])
    d.box(35, 26, 14, 9, 'pack_queries', 'pieces of the phrases\n(M, 768), image_index', WORDS)
    d.text(34, 23.8, 'encode_text: words only', 9.6, WORDS[1])

    # The head.
    d.frame(53, 1, 26, 36.5, ('#f7fbf6', HEAD[1]), line_width=1.8, zorder=1)
    d.text(66, 3.2, 'head:  what makes a paper different', 11, HEAD[1], weight='bold')
    d.arrow((49, 8.5), (56, 8.5), color=PIXELS[1])
    d.box(56, 5.2, 20, 6.6, 'project', 'pixels (B, C, h, w), queries (M, C)', HEAD)
    d.arrow((49, 30.5), (51, 30.5), (51, 10.6), (56, 10.6), color=WORDS[1])
    d.arrow((66, 11.8), (66, 14.2), color=HEAD[1])
    d.box(56, 14.2, 20, 5.4, 'match', r'query · pixel  →  $H^0$  (M, h, w)', HEAD)
    d.arrow((66, 19.6), (66, 22.4), color=HEAD[1])
    d.frame(55, 22.4, 22, 13.4, ('#eef7ec', HEAD[1]), dashed=True, zorder=1.5)
    d.text(76.2, 34.2, r'$\times\,L$', 13, HEAD[1], ha='right')
    d.box(56, 23.2, 20, 5.4, 'refine', r'attend to the S best pixels of $H^l$', HEAD)
    d.arrow((63.5, 28.6), (63.5, 29.9), color=HEAD[1])
    d.box(56, 29.9, 15.5, 5.2, 'match', r'→  $H^{l+1}$', HEAD)

    # What comes out.
    d.arrow((77, 26), (82, 26), (82, 13), color=OUTPUT[1])
    d.arrow((77, 30.5), (84.5, 30.5), color=OUTPUT[1])
    d.text(82.8, 19.5, r'$H^0 \ldots H^L$', 10, OUTPUT[1], ha='left')
    d.text(81.5, 32, r'$H^L$', 10, OUTPUT[1])
    d.box(80.5, 4, 18.5, 9, 'loss', 'every map, BCE + Dice\nagainst grid_targets(…)', OUTPUT)
    d.box(84.5, 26, 14.5, 9, 'predict', "sigmoid, mean over a\nphrase's pieces, > 0.5", OUTPUT)

    # The sample.
    d.frame(1, 41, 98, 14, ('#fafafb', SAMPLE[1]), line_width=1.8, zorder=1)
    d.text(2.6, 43.2, 'GroundingDataSample: one text about one image, from file to picture', 11,
           PALE, ha='left', weight='bold')  # fmt: skip
    d.box(3, 45.4, 18, 8, 'record', 'text, phrases (spans),\nregions, links', SAMPLE)
    d.arrow((21, 49.4), (26, 49.4))
    d.box(26, 45.4, 21, 8, 'pipeline', 'load, resize, pack;\ngt_regions at original size', SAMPLE)
    d.arrow((47, 49.4), (52, 49.4))
    d.box(52, 45.4, 20, 8, 'data_preprocessor', 'normalise, pad, share images;\n'
          'image_index, geometry', SAMPLE)  # fmt: skip
    d.arrow((72, 49.4), (77, 49.4), dashed=True)
    d.box(77, 45.4, 20.5, 8, 'metric, visualizer', 'and inferencer read\n'
          'pred_phrases, original pixels', SAMPLE)  # fmt: skip
    d.arrow((53.5, 45.4), (53.5, 39.2), (7.5, 39.2), (7.5, 35), color=SAMPLE[1])
    d.arrow((7.5, 26), (7.5, 13), color=SAMPLE[1], dashed=True)
    d.text(8.3, 19.5, 'image_index', 8.8, PALE, ha='left')
    d.arrow((91.5, 35), (91.5, 45.4), color=OUTPUT[1])
    d.text(90.7, 38.9, 'masks, scores: geometry maps them\nback to the original image', 8.8, PALE,
           ha='right')  # fmt: skip
    return d.figure


def main(argv: Sequence[str] | None = None) -> None:
    """Write the picture.

    Args:
        argv: The command line; by default that of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('path', help='the .svg file, or .png to look at')
    path = parser.parse_args(argv).path
    settings = {'svg.hashsalt': 'mmground', 'svg.fonttype': 'path', 'font.family': 'DejaVu Sans'}
    with matplotlib.rc_context(settings):
        # Without the date, so that an unchanged picture is an unchanged file.
        metadata = {'Date': None} if path.endswith('.svg') else {}
        draw().savefig(path, facecolor='white', metadata=metadata, dpi=110)


if __name__ == '__main__':
    main()
