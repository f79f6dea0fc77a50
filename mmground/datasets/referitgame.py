from collections.abc import Iterator, Sequence
from typing import ClassVar

from mmground.registry import DATASETS

from .refcoco import RefCocoDataset


@DATASETS.register_module()
class ReferItGameDataset(RefCocoDataset):
    """ReferItGame as a data set of phrase grounding: boxes, from the files of the refer API.

    A sample is an expression, whose text is its one phrase; there are no relations. Masks are not
    handed on. See :class:`RefCocoDataset`, with ``name='refclef'``, for the same expressions as a
    task of segmentation, and for the files.

    Args:
        split: ``'train'``, ``'val'``, ``'test'``, a list of them, or ``'held-out'``.
        **kwargs: The others of :class:`RefCocoDataset`, except ``name``.

    Example:
        >>> dataset = ReferItGameDataset(split='test', data_root='data/refcoco')
    """

    METAINFO: ClassVar[dict] = {'dataset_type': 'referitgame', 'task_name': 'phrase_grounding'}

    def __init__(self, split: str | Sequence[str], **kwargs):
        super().__init__(name='refclef', split=split, **kwargs)

    def load_records(self) -> Iterator[dict]:
        """Read the files.

        Yields:
            A record per expression, image by image.
        """
        for record in super().load_records():
            regions = [
                {key: value for key, value in region.items() if key != 'mask'}
                for region in record['regions']
            ]
            yield {**record, 'regions': regions, 'relations': [], 'num_predicates': 0}
