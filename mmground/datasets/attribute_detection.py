from functools import cached_property

from mmdet.datasets import CocoDataset

from mmground.registry import DATASETS


@DATASETS.register_module()
class AttributeCocoDataset(CocoDataset):
    """COCO detection with attributes, such as colours, of the annotated things.

    Its file has two keys more than COCO's: ``attributes``, whose entries have an ``id`` and a
    ``name``, and ``attribute_ids`` of each annotation. Instances get ``attributes``, 1 or 0 for
    each attribute of ``metainfo['attributes']``, a sequence of names; others are left out, as
    classes are.

    Raises:
        ValueError: The file has no attributes, or not all of ``metainfo``.
    """

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse an image's annotations.

        Args:
            raw_data_info: ``raw_img_info`` and ``raw_ann_info``, as COCO's file has them.
        """
        found = super().parse_data_info(dict(raw_data_info, raw_ann_info=[]))
        names = self._attribute_names
        for annotation in raw_data_info['raw_ann_info']:
            # By itself, because mmdet leaves some annotations out and does not say which.
            alone = super().parse_data_info(dict(raw_data_info, raw_ann_info=[annotation]))
            said = {names.get(number) for number in annotation.get('attribute_ids', ())}
            row = [float(name in said) for name in self.metainfo['attributes']]
            found['instances'] += [dict(own, attributes=row) for own in alone['instances']]
        return found

    @cached_property
    def _attribute_names(self) -> dict[int, str]:
        names = {entry['id']: entry['name'] for entry in self.coco.dataset.get('attributes', ())}
        missing = sorted(set(self.metainfo['attributes']) - set(names.values()))
        if missing:
            raise ValueError(
                f'{self.ann_file}: no attributes {missing}, which metainfo of the config names; '
                f'the file has {sorted(names.values())}. Grounding Shapes before version 1.2 had '
                'none: make them anew with tools/misc/make_shapes.py --overwrite'
            )
        return names
