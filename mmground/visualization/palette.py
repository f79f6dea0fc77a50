"""Colours that tell phrases apart."""

# Hues are spread in an order that keeps neighbours in the list far apart. All are
# saturated enough to stand out on a photograph and none is close to white or
# black, so that either white or black text is readable on each.
_PALETTE = (
    (230, 25, 75),
    (0, 130, 200),
    (45, 160, 65),
    (245, 150, 30),
    (145, 50, 190),
    (0, 185, 195),
    (240, 80, 210),
    (150, 100, 40),
    (225, 205, 30),
    (60, 80, 190),
    (250, 130, 130),
    (0, 128, 112),
    (175, 215, 60),
    (130, 20, 50),
    (150, 140, 250),
    (128, 128, 20),
    (110, 200, 250),
    (200, 80, 20),
    (20, 100, 40),
    (215, 150, 210),
)


def phrase_color(index: int) -> tuple[int, int, int]:
    """The colour of a phrase.

    Args:
        index: Position of the phrase in its text's list, from 0. There are 20
            colours; after that they repeat.

    Returns:
        RGB, 0 to 255.
    """
    return _PALETTE[index % len(_PALETTE)]


def text_color_on(background: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white text for a background, with a contrast of at least 3.

    White wherever that suffices: it reads better than black on saturated colours.
    Luminance and contrast are those of the `Web Content Accessibility Guidelines
    <https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio>`_, whose bound for large text
    is 3.

    Args:
        background: RGB, 0 to 255.

    Returns:
        RGB, 0 to 255.
    """
    linear = (
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in (value / 255 for value in background)
    )
    weights = (0.2126, 0.7152, 0.0722)
    luminance = sum(weight * channel for weight, channel in zip(weights, linear, strict=True))
    white_contrast = 1.05 / (luminance + 0.05)
    return (255, 255, 255) if white_contrast >= 3 else (0, 0, 0)
