"""Colours that tell phrases apart."""

# Hues are spread in an order that keeps neighbours in the list far apart. All are
# saturated enough to stand out on a photograph and none is close to white or
# black, so that either white or black text is readable on each.
_PALETTE = (
    (230, 25, 75),
    (0, 130, 200),
    (60, 180, 75),
    (245, 150, 30),
    (145, 50, 190),
    (0, 190, 200),
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
    """Black or white, whichever is easier to read on a background (RGB, 0 to 255)."""
    red, green, blue = background
    # Relative luminance weights of ITU-R BT.601; the threshold favours white a
    # little, which reads better than the formula says on saturated colours.
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    return (0, 0, 0) if luminance > 150 else (255, 255, 255)
