import random
import re

import mmcv
from mmcv.transforms import BaseTransform

from mmground.registry import TRANSFORMS

_PATTERNS = {
    # "leftmost", "left-hand", "leftwards", but not "leftover", "bright", "upright".
    'words': re.compile(
        r'\b(left|right)(?=(?:most|hand|handed|side|ward|wards)?\b)', re.IGNORECASE
    ),
    'substrings': re.compile(r'left|right', re.IGNORECASE),
}
_OTHER = {'left': 'right', 'right': 'left'}


def swap_left_right(
    text: str, spans: list[tuple[int, int]] = (), rule: str = 'words'
) -> tuple[str, list[tuple[int, int]]]:
    """The words for a mirrored image: left becomes right and right left.

    Args:
        text: Any text.
        spans: Character ranges ``(start, end)`` in it.
        rule: ``'words'`` swaps the words and what is made of them (leftmost, right-hand,
            leftwards); ``'substrings'`` swaps the letters wherever they stand, as the official
            code of PBREC and TransVG does ("upright" becomes "upleft").

    Returns:
        The text, in which a capital and capitals stay, and the ranges of the same parts in it.

    Example:
        >>> swap_left_right('Left man, bright shirt', [(0, 8)])
        ('Right man, bright shirt', [(0, 9)])
    """
    places = [match.span(0) for match in _PATTERNS[rule].finditer(text)]
    parts, cursor = [], 0
    for start, end in places:
        parts += [text[cursor:start], _other_side(text[start:end])]
        cursor = end
    # The two words differ by a letter, so what follows moves.
    moved = [tuple(place + _shift(text, places, place) for place in span) for span in spans]
    return ''.join([*parts, text[cursor:]]), moved


def _other_side(word: str) -> str:
    other = _OTHER[word.lower()]
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other


def _shift(text: str, places: list[tuple[int, int]], place: int) -> int:
    """By how many characters what stands at ``place`` moves."""
    return sum(
        len(_OTHER[text[start:end].lower()]) - (end - start)
        for start, end in places
        if end <= place
    )


@TRANSFORMS.register_module()
class RandomFlipWithText(BaseTransform):
    """Mirror an image left to right, together with the text.

    The image stays at its place on the canvas. Annotations are not touched: they are in pixels
    of the original image, and the geometry knows of the flip.

    Required Keys:

    - img (np.ndarray), text (str), phrases (list[dict] with ``text`` and ``span``)

    Modified Keys:

    - img, text, and the phrases' text and span.

    Added Keys:

    - flip (bool), flip_direction (str or None): as :class:`mmcv.transforms.RandomFlip` sets
      them.

    Args:
        prob: Probability.
        rule: See :func:`swap_left_right`.

    Raises:
        ValueError: If the rule is unknown.
    """

    def __init__(self, prob: float = 0.5, rule: str = 'words') -> None:
        if rule not in _PATTERNS:
            raise ValueError(f'rule must be one of {list(_PATTERNS)}, got {rule!r}')
        self.prob = prob
        self.rule = rule

    def transform(self, results: dict) -> dict:
        """Mirror the record or not; see the class."""
        flip = random.random() < self.prob
        results['flip'], results['flip_direction'] = flip, 'horizontal' if flip else None
        if not flip:
            return results
        results['img'] = mmcv.imflip(results['img'])
        phrases = results['phrases']
        results['text'], spans = swap_left_right(
            results['text'], [phrase['span'] for phrase in phrases], self.rule
        )
        results['phrases'] = [
            {**phrase, 'span': span, 'text': results['text'][slice(*span)]}
            for phrase, span in zip(phrases, spans, strict=True)
        ]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, rule={self.rule!r})'
