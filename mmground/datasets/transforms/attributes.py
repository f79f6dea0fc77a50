from typing import ClassVar

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import PackDetInputs

from mmground.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadAttributes(BaseTransform):
    """Load the attributes of the instances of an :class:`.AttributeCocoDataset`.

    Required keys: ``instances``. Added keys: ``gt_attributes``, float32, (n, number of
    attributes), 1 for those that a thing has;
    (0, ) without instances.
    """

    def transform(self, results: dict) -> dict:
        """Add ``gt_attributes``."""
        rows = [instance['attributes'] for instance in results['instances']]
        results['gt_attributes'] = np.array(rows, dtype=np.float32)
        return results


@TRANSFORMS.register_module()
class PackAttributeInputs(PackDetInputs):
    """mmdet's ``PackDetInputs``; ``gt_instances`` also get ``attributes``."""

    mapping_table: ClassVar[dict[str, str]] = {
        **PackDetInputs.mapping_table,
        'gt_attributes': 'attributes',
    }
