from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor


class GroundingDataSample(BaseDataElement):
    """One text about one image, what its phrases refer to, and what was predicted.

    It flows from the data pipeline through the model to metrics, visualizer and
    inferencer, for every task. Only tensors and :class:`InstanceData` are data
    fields, because ``BaseDataElement.to()`` drops everything else; the rest is
    metainfo.

    Metainfo:
        - ``sample_id`` (str): Unique in the data set; one sample, one metric result.
        - ``img_id`` (str), ``img_path`` (str): The image; several samples may share it.
        - ``text`` (str): The narrative, expression or caption.
        - ``phrases`` (list[dict]): Per phrase ``text`` and ``span``, the character
          range ``(start, end)`` in ``text``; a data set may add keys.
        - ``ori_shape``, ``img_shape`` (tuple[int, int]): Original and resized size.
        - ``geometry`` (:class:`Geometry`): How the image lies on the network's canvas.
        - ``dataset``, ``split`` (str), ``ref_id``, ``ann_id`` (int): Of referring expressions:
          the set, such as ``'refcoco'``, its split, the reference and its annotation.
        - ``image_index`` (int): The sample's image in the batch, set by the data
          preprocessor: samples of one image share it.

    Data fields:
        - ``gt_regions`` (InstanceData): Element i is region i. ``masks``: bool,
          (R, ori_h, ori_w). ``bboxes``: (R, 4), xyxy in pixels of the original image.
          ``is_thing``: bool, (R, ). ``category_ids``: int64, (R, ), where the data set has
          categories.
        - ``links`` (Tensor): Pairs (phrase, region), (K, 2), int64. A plural links one
          phrase to several regions, and two phrases may share a region.
        - ``relations`` (Tensor): Pairs (subject phrase, object phrase), (E, 2), int64.
          ``relation_labels``: which predicates hold of each pair, (E, R), bool; of some it is
          only known that they are related.
        - ``proposals`` (InstanceData): What a detector found in the image, the best first
          unless their file has another order.
          ``bboxes``: (M, 4), xyxy in pixels of the original image. ``labels``: (M, ), int64,
          indices of the detector's classes. ``scores``: (M, ).
        - ``pred_phrases`` (InstanceData): Element i is phrase i, in the original image's
          coordinates. ``masks``: bool, (N, ori_h, ori_w). ``bboxes``: (N, 4), xyxy.
          ``scores``: (N, ), mostly in [0, 1]. ``dropped``: bool, (N, ), phrases that the text
          encoder could not read; ``truncated``: bool, (N, ), those that it cut off.
          ``grid_probs``: (N, h, w), probabilities on the network's grid. A system sets what
          it predicts. Those that score the points of a grid for a task, ``rec`` or ``res``, also
          set ``point_scores_rec``: (N, h, w), a probability for each point; ``points_rec``:
          (N, 2), the best one, xy; ``point_hit``: bool, (N, ), whether the best one is one of
          the target's; ``cls_attention``: (N, h, w), how much [CLS] reads from each point. Those
          that choose among proposals set ``canvas_bboxes``: (N, 4), xyxy in pixels of the canvas;
          ``mask_scores``: (N, ) in [0, 1], of the masks where ``scores`` are of the boxes; and
          ``box_candidates``, ``mask_candidates`` and what belongs to them, see
          :class:`~mmground.models.heads.PointLocalisation`. A cascade sets ``stage_masks``: bool,
          (N, S, ori_h, ori_w), the masks that its S stages would give.
        - ``pred_panoptic`` (BaseDataElement): The phrases' masks merged, see
          :func:`merge_panoptic`. ``segment_map``: int32, (ori_h, ori_w), and the metainfo
          ``segments`` (list[dict]).
    """

    def _set(self, name: str, value, dtype) -> None:
        self.set_field(value, f'_{name}', dtype=dtype)

    @property
    def gt_regions(self) -> InstanceData:
        """Regions of the image, see the class."""
        return self._gt_regions

    @gt_regions.setter
    def gt_regions(self, value: InstanceData) -> None:
        self._set('gt_regions', value, InstanceData)

    @gt_regions.deleter
    def gt_regions(self) -> None:
        del self._gt_regions

    @property
    def links(self) -> Tensor:
        """Pairs (phrase, region), see the class."""
        return self._links

    @links.setter
    def links(self, value: Tensor) -> None:
        if value.ndim != 2 or value.shape[1] != 2:
            raise ValueError(f'links must be (K, 2) phrase-region pairs, got {tuple(value.shape)}')
        self._set('links', value, Tensor)

    @links.deleter
    def links(self) -> None:
        del self._links

    @property
    def relations(self) -> Tensor:
        """Pairs (subject phrase, object phrase), see the class."""
        return self._relations

    @relations.setter
    def relations(self, value: Tensor) -> None:
        if value.ndim != 2 or value.shape[1] != 2:
            raise ValueError(f'relations must be (E, 2) pairs of phrases, got {tuple(value.shape)}')
        self._set('relations', value, Tensor)

    @relations.deleter
    def relations(self) -> None:
        del self._relations

    @property
    def relation_labels(self) -> Tensor:
        """Predicates of the relations, see the class."""
        return self._relation_labels

    @relation_labels.setter
    def relation_labels(self, value: Tensor) -> None:
        self._set('relation_labels', value, Tensor)

    @relation_labels.deleter
    def relation_labels(self) -> None:
        del self._relation_labels

    @property
    def proposals(self) -> InstanceData:
        """What a detector found, see the class."""
        return self._proposals

    @proposals.setter
    def proposals(self, value: InstanceData) -> None:
        self._set('proposals', value, InstanceData)

    @proposals.deleter
    def proposals(self) -> None:
        del self._proposals

    @property
    def pred_phrases(self) -> InstanceData:
        """What was predicted for each phrase, see the class."""
        return self._pred_phrases

    @pred_phrases.setter
    def pred_phrases(self, value: InstanceData) -> None:
        self._set('pred_phrases', value, InstanceData)

    @pred_phrases.deleter
    def pred_phrases(self) -> None:
        del self._pred_phrases

    @property
    def pred_panoptic(self) -> BaseDataElement:
        """Panoptic segmentation by the phrases, see the class."""
        return self._pred_panoptic

    @pred_panoptic.setter
    def pred_panoptic(self, value: BaseDataElement) -> None:
        self._set('pred_panoptic', value, BaseDataElement)

    @pred_panoptic.deleter
    def pred_panoptic(self) -> None:
        del self._pred_panoptic
