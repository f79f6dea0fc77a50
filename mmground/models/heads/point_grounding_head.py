from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from mmdet.models.layers import MLP
from mmengine.model import BaseModule, ModuleDict, caffe2_xavier_init
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmground.registry import MODELS
from mmground.structures import Geometry, GroundingDataSample, TextFeatures, image_geometries

from ..localisers.proposals import BoxProposals, MaskProposals
from ..task_modules.point_targets import centerness_target, massness_target
from ..task_modules.referred_region import check_one_phrase, referred_box, referred_mask
from .point_localisation import PointLocalisation, points_on_image

# What a point is scored for: a box around it, by its center-ness, or a mask, by its mass-ness.
TASKS = ('rec', 'res')


@MODELS.register_module()
class PointGroundingHead(BaseModule):
    """Which points of an image an expression refers to: the comprehension stage of PBREC.

    `Rethinking Two-Stage Referring Expression Comprehension: A Novel Grounding and Segmentation
    Method Modulated by Point <https://github.com/VILAN-Lab/PBREC-MT>`_. The last map of the
    backbone and the tokens of the expression are projected to a common width and read from each
    other (``fusion``); a perceptron per task then says for each point how central it is to the
    referred box (``'rec'``) and how much of its cell the referred mask covers (``'res'``). With
    both tasks this is PBREC-MT.

    A sample has one phrase, its whole expression. Several expressions may be about one image.

    Defaults are the official code's: its soft targets, which differ from the paper's Eqs. 1-4; the
    mean over all points, padding too, where Eq. 6 divides by their number twice; and the last layer
    only is supervised.

    Args:
        in_channels: Channels of the backbone's map.
        text_channels: Channels of the text features.
        channels: C, the common width.
        tasks: ``'rec'``, ``'res'`` or both.
        fusion: Config of the encoder of points and tokens; it also gets ``channels``. Defaults to a
            :class:`VisionLanguageEncoder`.
        targets: By task, settings of its targets: ``form``, that of :func:`centerness_target` or
            :func:`massness_target` (``'official'``), and ``hard``, whether they are 0 or 1 (False).
        loss_bce: Config of the loss on logits.
        squared_norm: Whether the loss is divided by the number of points once more (Eq. 6).
        ignore_padding: Whether points on the padding take no part in the loss.
        cell_anchor: Which point of a cell tells the ``fusion`` whether the cell is padding, see
            :meth:`Geometry.valid_cells`. The official code reduces the mask of the padding by its
            nearest pixels: ``'corner'``. Whether a point may be chosen, or takes part in the loss,
            goes by its place, the cell's centre.
        test_cfg: ``exclude_padding``, whether the best points are never on the padding (True; in
            the official code they may be, also where it chooses its checkpoint); and
            ``keep_attention``, whether predictions keep what [CLS] reads from the points (False).
            For models with localisers also the settings of :class:`PointLocalisation`,
            such as ``topk``, ``score_mode`` and ``keep_candidates`` (False).
        init_cfg: Initialisation. None is the official code's.

    Raises:
        ValueError: If there is no such task or setting.
    """

    grounds_whole_text: ClassVar[bool] = True
    """The whole text of a sample is its one phrase."""

    def __init__(
        self,
        in_channels: int = 2048,
        text_channels: int = 768,
        channels: int = 256,
        tasks: Sequence[str] = TASKS,
        fusion: dict | None = None,
        targets: Mapping[str, dict] | None = None,
        loss_bce: dict | None = None,
        squared_norm: bool = False,
        ignore_padding: bool = False,
        cell_anchor: str = 'corner',
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not tasks or not set(tasks) <= set(TASKS):
            raise ValueError(f'tasks must be among {TASKS}, got {tasks!r}')
        targets = targets or {}
        for task, settings in targets.items():
            if task not in tasks or not set(settings) <= {'form', 'hard'}:
                raise ValueError(
                    f"targets takes 'form' and 'hard' of the tasks {list(tasks)}, got {targets!r}"
                )
        self.tasks = tuple(task for task in TASKS if task in tasks)
        self.target_cfg = {
            task: dict(form='official', hard=False) | targets.get(task, {}) for task in tasks
        }
        self.pixel_proj = nn.Conv2d(in_channels, channels, 1)
        caffe2_xavier_init(self.pixel_proj)
        self.text_proj = nn.Linear(text_channels, channels)
        self.fusion = MODELS.build(
            dict(fusion or dict(type='VisionLanguageEncoder'), channels=channels)
        )
        self.point_mlps = ModuleDict({task: MLP(channels, channels, 1, 3) for task in tasks})
        self.loss_bce = MODELS.build(loss_bce or dict(type='BCELoss'))
        self.squared_norm = squared_norm
        self.ignore_padding = ignore_padding
        self.cell_anchor = cell_anchor
        self.test_cfg = dict(exclude_padding=True, keep_attention=False, keep_candidates=False)
        self.test_cfg.update(test_cfg or {})
        _ = self.localisation  # a wrong setting is an error here

    @property
    def localisation(self) -> PointLocalisation:
        """How proposals are chosen, by the present ``test_cfg``."""
        settings = {key: value for key, value in self.test_cfg.items() if key != 'keep_attention'}
        return PointLocalisation(**settings)

    def encode(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        image_index: Tensor,
        valid: Tensor,
        all_layers: bool = False,
        return_attention: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Project points and tokens, and let them read from each other.

        Args:
            feats: As of :meth:`forward`.
            text: As of :meth:`forward`.
            image_index: As of :meth:`forward`.
            valid: As of :meth:`forward`.
            all_layers: As of :meth:`forward`.
            return_attention: Whether to return what [CLS] reads from the points.

        Returns:
            As of :meth:`VisionLanguageEncoder.forward`.
        """
        return self.fusion(
            self.pixel_proj(feats[-1]),
            valid,
            self.text_proj(text.pieces),
            text.is_token,
            image_index,
            all_layers=all_layers,
            return_attention=return_attention,
        )

    def forward(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        image_index: Tensor,
        valid: Tensor,
        all_layers: bool = False,
    ) -> dict[str, Tensor]:
        """Score the points of each text's image.

        Args:
            feats: Maps of the B images, of which the last is used. Shape (B, in_channels, h, w).
            text: The encoded texts, T of them.
            image_index: The image of each text. Shape (T, ).
            valid: True on the image, False on the padding, as ``cell_anchor`` tells. Shape
                (B, h, w).
            all_layers: Whether the output of each layer of the fusion is scored, or of the last
                only.

        Returns:
            Logits by task. Shape (layers, T, n) or (1, T, n) of n = h w points, row-major.
        """
        states, _ = self.encode(feats, text, image_index, valid, all_layers)
        return self._score(states)

    def _score(self, states: Tensor) -> dict[str, Tensor]:
        return {task: mlp(states)[..., 0] for task, mlp in self.point_mlps.items()}

    def place(
        self, feats: Sequence[Tensor], data_samples: Sequence[GroundingDataSample]
    ) -> tuple[Tensor, Tensor]:
        """How the points of a batch lie on its images.

        Args:
            feats: Maps of the B images.
            data_samples: T samples with ``image_index`` and ``geometry``.

        Returns:
            ``image_index``, (T, ), and ``valid``, (B, h, w), as :meth:`forward` takes them.
        """
        device, shape = feats[-1].device, tuple(feats[-1].shape[-2:])
        geometries = image_geometries(len(feats[-1]), data_samples)
        valid = torch.stack([own.valid_cells(shape, self.cell_anchor) for own in geometries])
        image_index = torch.tensor([sample.image_index for sample in data_samples])
        return image_index.to(device), valid.to(device)

    def _points_on_image(self, feats, data_samples) -> Tensor:
        """See :func:`points_on_image`. Shape (T, n)."""
        return points_on_image(data_samples, tuple(feats[-1].shape[-2:])).to(feats[-1].device)

    def tensor(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
    ) -> dict[str, Tensor]:
        """Raw outputs: the logits of :meth:`forward` after each layer."""
        return self(feats, text, *self.place(feats, data_samples), all_layers=True)

    def loss(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            feats: Maps of the B images, of which the last is used.
            text: The encoded texts, one per sample.
            data_samples: Samples with ``gt_regions`` and ``links``.

        Returns:
            ``loss_rec`` and ``loss_res``, as far as they are among the tasks, and
            ``truncated_texts``, of how many texts the encoder cut something off.
        """
        image_index, valid = self.place(feats, data_samples)
        logits = self(feats, text, image_index, valid)
        targets = self.targets(data_samples, tuple(feats[-1].shape[-2:]))
        on_image = self._points_on_image(feats, data_samples)
        losses = self.loss_by_feat(logits, targets, on_image)
        losses['truncated_texts'] = text.truncated.sum().float()
        return losses

    def loss_by_feat(
        self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor], valid: Tensor
    ) -> dict[str, Tensor]:
        """Eq. 6 on the last layer.

        Args:
            logits: By task, of :meth:`forward`. Shape (layers, T, n).
            targets: By task. Shape (T, n).
            valid: False at points on the padding. Shape (T, n).

        Returns:
            ``loss_rec`` and ``loss_res``, as far as they are among the tasks.
        """
        losses = {}
        for task in self.tasks:
            scores, target = logits[task][-1].float(), targets[task]
            num_points = scores.shape[1]
            if self.ignore_padding:
                scores, target = scores[valid], target[valid]
            loss = self.loss_bce(scores, target)
            losses[f'loss_{task}'] = loss / num_points if self.squared_norm else loss
        return losses

    def targets(
        self, data_samples: Sequence[GroundingDataSample], grid: tuple[int, int]
    ) -> dict[str, Tensor]:
        """What the points of each sample's image should be scored.

        Args:
            data_samples: Samples with ``gt_regions`` and ``links``. If several regions are
                linked, their union is the target; if none is, all targets are zero.
            grid: Rows and columns (h, w) of points.

        Returns:
            By task, values in [0, 1]. Shape (T, n).

        Raises:
            ValueError: If a sample has not exactly one phrase or lacks what a task needs, or
                if a target is empty.
        """
        referring = []
        for index, sample in enumerate(data_samples):
            self._check(sample)
            if len(sample.links):
                referring.append(index)
        device = data_samples[0].links.device
        targets = {}
        for task in self.tasks:
            target = torch.zeros((len(data_samples), grid[0] * grid[1]), device=device)
            if referring:
                own = [data_samples[index] for index in referring]
                target[referring] = self._targets_of(task, own, grid).flatten(1)
            targets[task] = target
        return targets

    def _check(self, sample: GroundingDataSample) -> None:
        check_one_phrase(sample)
        for task, field, remedy in (
            ('rec', 'bboxes', 'give the regions boxes'),
            ('res', 'masks', 'add LoadGroundingMasks to the pipeline'),
        ):
            if task in self.tasks and field not in sample.gt_regions:
                raise ValueError(
                    f"sample {sample.sample_id!r} has no {field}, which the task '{task}' needs: "
                    f'{remedy}, or leave the task out'
                )

    def _targets_of(
        self, task: str, data_samples: Sequence[GroundingDataSample], grid: tuple[int, int]
    ) -> Tensor:
        """Targets of a task. Shape (T, h, w)."""
        form, hard = self.target_cfg[task]['form'], self.target_cfg[task]['hard']
        stride = _stride(data_samples[0].geometry, grid)
        if task == 'rec':
            boxes = torch.stack([referred_box(sample) for sample in data_samples])
            target = centerness_target(boxes, grid, stride, form)
        else:
            masks = torch.stack([referred_mask(sample) for sample in data_samples])
            target = massness_target(masks, stride, form)
        return (target > 0).float() if hard else target

    def predict(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
        proposals: Mapping[str, BoxProposals | MaskProposals] | None = None,
    ) -> list[InstanceData]:
        """Find the points that each expression refers to, and the boxes and masks there.

        Args:
            feats: Maps of the B images, of which the last is used.
            text: The encoded texts, one per sample.
            data_samples: Samples with ``image_index`` and ``geometry``.
            proposals: What localisers propose for the B images, by their names ``'box'`` and
                ``'mask'``. Without them only points are predicted.

        Returns:
            Per sample an ``InstanceData`` of one element. For each task, say ``'rec'``:
            ``point_scores_rec``, (1, h, w), a probability for each point, and ``points_rec``,
            (1, 2), the best point, xy in pixels of the original image. Of the best point for the
            box, or for the mask if there is no task ``'rec'``: ``scores``, (1, ), its probability,
            and, where the samples are annotated, ``point_hit``, (1, ), bool, whether it has a
            positive target. Also ``truncated`` and ``dropped``, (1, ), bool, whether the encoder
            cut something off the text, and whether it read none of it; and, with
            ``test_cfg.keep_attention``, ``cls_attention``, (1, h, w), how much [CLS] reads from
            each point in the last layer of the fusion.
            With proposals also what :class:`PointLocalisation` returns; ``scores`` are those of
            the box or mask then.
        """
        image_index, valid = self.place(feats, data_samples)
        states, attention = self.encode(
            feats, text, image_index, valid, return_attention=self.test_cfg['keep_attention']
        )
        logits = {task: own[-1].float() for task, own in self._score(states).items()}
        probs = {task: own.sigmoid() for task, own in logits.items()}
        grid = tuple(feats[-1].shape[-2:])
        on_image = self._points_on_image(feats, data_samples)
        results = self.predict_by_feat(probs, on_image, data_samples, grid)
        for index, result in enumerate(results):
            result.truncated = text.truncated[index : index + 1]
            result.dropped = ~text.valid[index : index + 1].any(1)
            if attention is not None:
                result.cls_attention = attention[index].float().reshape(1, *grid)
        if proposals:
            maps = {task: own.unflatten(1, grid) for task, own in logits.items()}
            localised = self.localisation(maps, proposals, data_samples)
            for result, found in zip(results, localised, strict=True):
                for field, value in found.items():
                    result[field] = value
        return results

    def predict_by_feat(
        self,
        probs: Mapping[str, Tensor],
        valid: Tensor,
        data_samples: Sequence[GroundingDataSample],
        grid: tuple[int, int],
    ) -> list[InstanceData]:
        """Take the best point of each sample.

        Args:
            probs: By task, probabilities of the points. Shape (T, n).
            valid: False at points on the padding. Shape (T, n).
            data_samples: The T samples.
            grid: Rows and columns (h, w) of points.

        Returns:
            As of :meth:`predict`, without what does not follow from the probabilities.
        """
        best = {}
        for task, own in probs.items():
            ranked = own.masked_fill(~valid, -1) if self.test_cfg['exclude_padding'] else own
            best[task] = ranked.argmax(1)
        annotated = all(self._is_annotated(sample) for sample in data_samples)
        targets = self.targets(data_samples, grid) if annotated else None
        results, first = [], self.tasks[0]
        for index, sample in enumerate(data_samples):
            result = InstanceData()
            for task, own in probs.items():
                point = best[task][index]
                xy = torch.stack((point % grid[1], point // grid[1]))[None] + 0.5
                xy = sample.geometry.inverse_points(xy * _stride(sample.geometry, grid))
                result[f'point_scores_{task}'] = own[index].reshape(1, *grid)
                result[f'points_{task}'] = xy
            point = best[first][index]
            result.scores = probs[first][index, point][None]
            if targets is not None:
                result.point_hit = targets[first][index, point][None] > 0
            results.append(result)
        return results

    def _is_annotated(self, sample: GroundingDataSample) -> bool:
        if 'gt_regions' not in sample or 'links' not in sample:
            return False
        needed = {'rec': 'bboxes', 'res': 'masks'}
        return all(needed[task] in sample.gt_regions for task in self.tasks)


def _stride(geometry: Geometry, grid: tuple[int, int]) -> int:
    """Pixels of the canvas between neighbouring points."""
    height, width = geometry.canvas_shape
    if height % grid[0] or width % grid[1] or height // grid[0] != width // grid[1]:
        raise ValueError(
            f'{grid[0]} x {grid[1]} points do not lie evenly on a canvas of {height} x {width} '
            'pixels: set pad_size_divisor of the data preprocessor to the stride of the backbone'
        )
    return height // grid[0]
