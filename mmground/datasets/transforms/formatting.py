import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import InstanceData
from torch import Tensor

from mmground.registry import TRANSFORMS
from mmground.structures import Geometry, GroundingDataSample

from .loading import sample_name


@TRANSFORMS.register_module()
class PackGroundingInputs(BaseTransform):
    """Pack an image and its text into what a grounder's ``data_preprocessor`` takes.

    Required Keys:

    - img (np.ndarray): uint8, shape (h, w, 3), resized and mirrored or not.
    - img_path, img_id, sample_id, text (str)
    - phrases (list[dict]): see :class:`~mmground.structures.GroundingDataSample`.
    - ori_shape, img_shape (tuple[int, int]): (height, width).
    - flip, flip_direction (optional): As :class:`mmcv.transforms.RandomFlip` sets them.
    - ratio, offset, canvas_shape (optional): As :class:`Letterbox` sets them.
    - crop (optional): As :class:`RandomReferringCrop` sets it.
    - dataset, split (str), ref_id, ann_id (int) (all optional): Of a data set of referring
      expressions.
    - regions (list[dict], optional): with ``bbox`` (xyxy, pixels of the original image)
      and, where the data set knows them, ``is_thing`` and ``category_id``. Records for
      inference have none.
    - gt_region_masks (np.ndarray, optional): bool, shape (R, ori_h, ori_w).
    - links (list[tuple[int, int]], optional): Pairs (phrase, region).
    - relations (list[tuple[int, int, list[int]]], optional): Subject phrase, object phrase and
      predicates, with num_predicates (int), how many predicates are told apart.
    - proposals (dict, optional): As :class:`LoadProposals` sets them.

    The result is a dict of

    - inputs (Tensor): uint8, shape (3, h, w), channels in the image's order (BGR as
      loaded), contiguous, not normalised.
    - data_samples (:class:`~mmground.structures.GroundingDataSample`): with the metainfo
      ``sample_id, img_id, img_path, text, phrases, ori_shape, img_shape, geometry`` and,
      as far as the record has them, ``dataset, split, ref_id, ann_id``, and the fields
      ``gt_regions`` (``masks`` bool (R, ori_h, ori_w), ``bboxes`` float32 (R, 4),
      ``is_thing`` bool (R, ), ``category_ids`` int64 (R, )), ``links`` int64 (K, 2),
      ``relations`` int64 (E, 2) with ``relation_labels`` bool (E, num_predicates), and
      ``proposals`` (``bboxes`` float32 (M, 4), in pixels of the original image, ``labels`` int64
      (M, ), ``scores`` float32 (M, )).

    Raises:
        ValueError: If the image is not uint8 of three channels, or was mirrored other
            than left to right.
    """

    META_KEYS = ('sample_id', 'img_id', 'img_path', 'text', 'phrases')
    OPTIONAL_META_KEYS = ('dataset', 'split', 'ref_id', 'ann_id')

    def transform(self, results: dict) -> dict:
        """Pack a record; see the class."""
        img = results['img']
        if img.dtype != np.uint8 or img.ndim != 3 or img.shape[2] != 3:
            raise ValueError(
                f'{results["img_path"]}: the image of {sample_name(results)} must be uint8 of '
                f'shape (height, width, 3), got {img.dtype} of shape {img.shape}'
            )
        # OpenCV parts the channels several times faster than a transposed copy does. It wants
        # no negative stride, which a reversed channel order has.
        inputs = torch.from_numpy(np.stack(cv2.split(np.ascontiguousarray(img))))

        data_sample = GroundingDataSample(metainfo={key: results[key] for key in self.META_KEYS})
        data_sample.set_metainfo(
            {key: results[key] for key in self.OPTIONAL_META_KEYS if key in results}
        )
        geometry = self._geometry(results)
        data_sample.set_metainfo(
            {
                'ori_shape': geometry.ori_shape,
                'img_shape': geometry.img_shape,
                'geometry': geometry,
            }
        )
        if 'regions' in results:
            data_sample.gt_regions = self._gt_regions(results)
        if 'links' in results:
            data_sample.links = torch.tensor(results['links'], dtype=torch.int64).reshape(-1, 2)
        if 'relations' in results:
            data_sample.relations, data_sample.relation_labels = self._relations(results)
        if 'proposals' in results:
            proposals = results['proposals']
            data_sample.proposals = InstanceData(
                bboxes=torch.from_numpy(proposals['boxes']),
                labels=torch.from_numpy(proposals['labels']),
                scores=torch.from_numpy(proposals['scores']),
            )
        return {'inputs': inputs, 'data_samples': data_sample}

    @staticmethod
    def _geometry(results: dict) -> Geometry:
        flip = bool(results.get('flip', False))
        direction = results.get('flip_direction')
        if flip and direction != 'horizontal':
            raise ValueError(
                f'{sample_name(results)} was flipped in the direction {direction!r}; only '
                "RandomFlip(direction='horizontal') is supported"
            )
        ori_shape, img_shape = (
            tuple(int(size) for size in results[key][:2]) for key in ('ori_shape', 'img_shape')
        )
        placement = {
            key: results[key]
            for key in ('ratio', 'offset', 'canvas_shape', 'crop')
            if key in results
        }
        return Geometry(ori_shape, img_shape, flip=flip, **placement)

    @staticmethod
    def _gt_regions(results: dict) -> InstanceData:
        regions = results['regions']
        gt_regions = InstanceData()
        gt_regions.bboxes = torch.tensor(
            [region['bbox'] for region in regions], dtype=torch.float32
        ).reshape(-1, 4)
        for key, field, dtype in (
            ('is_thing', 'is_thing', torch.bool),
            ('category_id', 'category_ids', torch.int64),
        ):
            if all(key in region for region in regions):
                values = [region[key] for region in regions]
                gt_regions[field] = torch.tensor(values, dtype=dtype)
        if 'gt_region_masks' in results:
            gt_regions.masks = torch.from_numpy(results['gt_region_masks'])
        return gt_regions

    @staticmethod
    def _relations(results: dict) -> tuple[Tensor, Tensor]:
        relations = results['relations']
        pairs = torch.tensor([relation[:2] for relation in relations], dtype=torch.int64)
        labels = torch.zeros(len(relations), results['num_predicates'], dtype=torch.bool)
        for own, (_, _, predicates) in zip(labels, relations, strict=True):
            own[predicates] = True
        return pairs.reshape(-1, 2), labels

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
