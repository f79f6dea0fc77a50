import random

from mmcv.transforms import BaseTransform

from mmground.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DrawSentence(BaseTransform):
    """Take one of the expressions for an object, anew each time.

    For :class:`~mmground.datasets.RefCocoDataset` with ``unit='ref'``.

    Required Keys:

    - sentences (list[dict]): each with ``text`` and ``phrases``.

    Modified Keys:

    - text, phrases: those of the sentence drawn.
    """

    def transform(self, results: dict) -> dict:
        """Draw a sentence; see the class."""
        results.update(random.choice(results['sentences']))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
