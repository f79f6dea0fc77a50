from itertools import combinations

import numpy as np

from mmground.visualization.palette import phrase_color, text_color_on


def test_twenty_colors_are_distinct_and_then_repeat():
    colors = [phrase_color(i) for i in range(20)]
    closest = min(
        np.linalg.norm(np.subtract(a, b).astype(float)) for a, b in combinations(colors, 2)
    )
    assert closest > 40
    assert phrase_color(20) == colors[0]


def test_text_is_readable_on_every_color():
    # The textbook pairs: grey #949494 is the lightest with a contrast of 3 to white.
    assert text_color_on((0x94,) * 3) == (255, 255, 255)
    assert text_color_on((0x96,) * 3) == (0, 0, 0)
    assert text_color_on((255, 255, 255)) == (0, 0, 0)
    assert text_color_on((0, 0, 0)) == (255, 255, 255)

    def luminance(color):
        value = np.array(color) / 255
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    for index in range(20):
        pair = luminance(phrase_color(index)), luminance(text_color_on(phrase_color(index)))
        contrast = (max(pair) + 0.05) / (min(pair) + 0.05)
        assert contrast >= 3, (index, contrast)
