from collections.abc import Sequence
from typing import ClassVar

import torch
from mmengine.model import BaseModule, ModuleList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmground.registry import MODELS
from mmground.structures import GroundingDataSample, TextFeatures, image_geometries

from ..layers.conv_module import sigma_settings
from ..task_modules.referred_region import check_one_phrase, referred_mask
from .inference_settings import fill_test_cfg

# A target that takes no part in the losses.
IGNORED = 255


@MODELS.register_module()
class ContextualCascadeHead(BaseModule):
    """JMCELN: an expression's mask by a cascade that writes its own context.

    `Referring Image Segmentation via Joint Mask Contextual Embedding Learning and Progressive
    Alignment Network <https://aclanthology.org/2023.emnlp-main.481>`_. A sentence modulates the
    maps of its image (``fusion``, Eqs. 1-2): F_m, of stride 8. :class:`LSRAN` relates the objects
    on it: F_mt^0. Then n stages (:class:`ContextualStage`, Eqs. 3-4) alternate: Q contextual
    embeddings q read from the features what they need next, and the features read from the
    embeddings, filtered by what they were before. The last features F_mt^n are upsampled to the
    canvas and classified as background or foreground, by the higher of two logits.

    Only the sentence's feature is used, and only in Eq. 1: the paper defines word features, but no
    equation has them. A sample has one phrase, its whole expression.

    What the paper fixes is the default. What it does not is a choice, here and in the parts:
    weights that stages do not share; the embeddings' initialisation; that logits, not
    probabilities, are resized to the original image before they are compared; and the padding of
    the canvas, which is background like any other by default.

    With ``mask_padding``, cells without any part of the image have a weight of exactly zero in Eq.
    3, and pixels of the padding take no part in the losses. These still see the padding, zeros
    after normalisation: the backbone with its attention pool; the 3x3 convolutions of the fusion,
    of LSRAN and of PAN, and PAN's depthwise one; LSRAN's windows; all upsampling, the
    fusion's too; and the statistics of all normalisations, SwitchNorm's included. In Eq. 4 cells
    of the padding read from the embeddings, but nothing reads from them.

    Under autocast, what stages add up stays in float32.

    Args:
        in_channels: Channels of the backbone's maps F_v1, F_v2 and F_v3.
        sentence_channels: Channels of the sentence's feature F_s.
        channels: C.
        num_stages: n, stages of the cascade; 0 leaves it out, embeddings included.
        num_contexts: Q.
        num_heads: Heads of all attentions.
        share_stages: Whether all stages have the same weights.
        norm_context: Whether Eq. 3 ends with a LayerNorm, see :class:`ContextualStage`.
        context_std: Standard deviation of the normal distribution of which q^0 is drawn.
        use_lsran: Whether objects are related; if not, F_mt^0 is F_m.
        use_alignment: Whether stages end with PAN; if not, with Eq. 4.
        adaptive_context: Whether the values of Eq. 3 are the output of the stage before, or
            F_mt^0 in all stages.
        fusion: Settings of the :class:`SentenceFusion` other than those above.
        lsran: Settings of the :class:`LSRAN`.
        alignment: Settings of the :class:`ProgressiveAlignment`.
        upsampling: Settings of the :class:`ProgressiveUpsampling`, which must bring maps of F_v1's
            size to that of the canvas.
        mask_padding: See above.
        loss_ce: Config of the loss on the two logits.
        loss_dice: Config of a region loss on the logit of the foreground. None leaves it out, as
            the paper.
        norm_cfg: Normalisation of maps, except PAN's.
        act_cfg: Activation after it.
        test_cfg: ``keep_stages``, whether predictions keep what each stage's features would give
            (False).
        init_cfg: Initialisation of the whole head.

    Raises:
        ValueError: If there is no such setting.
    """

    grounds_whole_text: ClassVar[bool] = True
    """The whole text of a sample is its one phrase."""

    def __init__(
        self,
        in_channels: Sequence[int] = (512, 1024, 512),
        sentence_channels: int = 512,
        channels: int = 1024,
        num_stages: int = 6,
        num_contexts: int = 20,
        num_heads: int = 8,
        share_stages: bool = False,
        norm_context: bool = True,
        context_std: float = 1.0,
        use_lsran: bool = True,
        use_alignment: bool = True,
        adaptive_context: bool = True,
        fusion: dict | None = None,
        lsran: dict | None = None,
        alignment: dict | None = None,
        upsampling: dict | None = None,
        mask_padding: bool = False,
        loss_ce: dict | None = None,
        loss_dice: dict | None = None,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.test_cfg = fill_test_cfg(test_cfg, keep_stages=False)
        sigma = sigma_settings(norm_cfg, act_cfg)
        self.fusion = MODELS.build(
            dict(
                type='SentenceFusion',
                in_channels=in_channels,
                sentence_channels=sentence_channels,
                channels=channels,
                **sigma,
            )
            | (fusion or {})
        )
        self.lsran = None
        if use_lsran:
            own = dict(type='LSRAN', channels=channels, num_heads=num_heads, **sigma)
            self.lsran = MODELS.build(own | (lsran or {}))
        stage = dict(
            type='ContextualStage',
            channels=channels,
            num_heads=num_heads,
            norm_context=norm_context,
            alignment=dict(type='ProgressiveAlignment') | (alignment or {})
            if use_alignment
            else None,
        )
        distinct = min(num_stages, 1) if share_stages else num_stages
        self.stages = ModuleList(MODELS.build(stage) for _ in range(distinct))
        self.num_stages = num_stages
        if num_stages:
            self.context = nn.Embedding(num_contexts, channels)
            nn.init.normal_(self.context.weight, std=context_std)
        self.adaptive_context = adaptive_context
        own = dict(type='ProgressiveUpsampling', in_channels=channels, **sigma)
        self.upsampling = MODELS.build(own | (upsampling or {}))
        self.mask_padding = mask_padding
        self.loss_ce = MODELS.build(
            loss_ce or dict(type='mmdet.CrossEntropyLoss', avg_non_ignore=True)
        )
        self.loss_dice = MODELS.build(loss_dice) if loss_dice else None

    def forward(
        self,
        feats: Sequence[Tensor],
        sentence: Tensor,
        image_index: Tensor,
        padding: Tensor | None = None,
        all_stages: bool = False,
    ) -> Tensor:
        """Score the pixels of each sentence's image.

        Args:
            feats: F_v1, F_v2 and F_v3 of the B images. Shape (B, C_i, h_i, w_i).
            sentence: F_s of the T sentences. Shape (T, sentence_channels).
            image_index: The image of each sentence. Shape (T, ).
            padding: True at cells from which no embedding reads. Shape (B, h_1, w_1).
            all_stages: Whether F_mt^0 .. F_mt^n are all upsampled, by the same weights, or the last
                only.

        Returns:
            Logits of background and foreground. Shape (1, T, 2, H, W), or (n + 1, T, 2, H, W).
        """
        features = self.reason(feats, sentence, image_index, padding, all_stages)
        return torch.stack([self.upsampling(own) for own in features])

    def reason(
        self,
        feats: Sequence[Tensor],
        sentence: Tensor,
        image_index: Tensor,
        padding: Tensor | None = None,
        all_stages: bool = False,
    ) -> list[Tensor]:
        """Everything before the upsampling.

        Args:
            feats: As of :meth:`forward`.
            sentence: As of :meth:`forward`.
            image_index: As of :meth:`forward`.
            padding: As of :meth:`forward`.
            all_stages: As of :meth:`forward`.

        Returns:
            F_mt^0 .. F_mt^n, or the last only. Shape (T, C, h_1, w_1).
        """
        # Under autocast matrices are multiplied in half precision, but what stages add up stays
        # in float32: half of it would drop small corrections.
        fused = self.fusion(feats, sentence, image_index).float()
        related = fused if self.lsran is None else self.lsran(fused).float()
        outputs = [related]
        if padding is not None:
            padding = padding[image_index]
        if self.num_stages:
            # A copy: PyTorch's counter of operations fails at views of parameters under no_grad.
            context = self.context.weight.repeat(len(sentence), 1, 1)
        for index in range(self.num_stages):
            features = outputs[-1]
            values = features if self.adaptive_context else related
            stage = self.stages[index % len(self.stages)]
            context, features = stage(context, fused, values, features, padding)
            # Maps that nobody asks for are not kept.
            outputs = [*outputs, features] if all_stages else [features]
        return outputs

    def place(
        self, feats: Sequence[Tensor], data_samples: Sequence[GroundingDataSample]
    ) -> tuple[Tensor, Tensor | None]:
        """How the cells of a batch lie on its images.

        Args:
            feats: Maps of the B images.
            data_samples: T samples with ``image_index`` and ``geometry``.

        Returns:
            ``image_index``, (T, ), and ``padding``, (B, h_1, w_1) or, without ``mask_padding``,
            None, as :meth:`forward` takes them.
        """
        device, shape = feats[0].device, tuple(feats[0].shape[-2:])
        image_index = torch.tensor([sample.image_index for sample in data_samples], device=device)
        if not self.mask_padding:
            return image_index, None
        geometries = image_geometries(len(feats[0]), data_samples)
        valid = torch.stack([own.valid_cells(shape, 'any') for own in geometries])
        return image_index, ~valid.to(device)

    def _scores(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
        all_stages: bool = False,
    ) -> Tensor:
        return self(feats, text.sentences(), *self.place(feats, data_samples), all_stages)

    def tensor(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
    ) -> Tensor:
        """Raw outputs: the logits of :meth:`forward` of F_mt^0 .. F_mt^n."""
        return self._scores(feats, text, data_samples, all_stages=True)

    def loss(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            feats: Maps of the B images.
            text: The encoded texts, one per sample.
            data_samples: Samples with ``gt_regions.masks`` and ``links``.

        Returns:
            ``loss_ce``; ``loss_dice``, if there is one; and ``truncated_texts``, of how many
            texts the encoder cut something off.
        """
        (logits,) = self._scores(feats, text, data_samples)
        losses = self.loss_by_feat(logits, self.targets(data_samples, tuple(logits.shape[-2:])))
        losses['truncated_texts'] = text.truncated.sum().float()
        return losses

    def loss_by_feat(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Two-class cross-entropy (Sec. 3.5), and what else is asked for.

        Args:
            logits: Of background and foreground. Shape (T, 2, H, W).
            targets: 0, 1 or ``IGNORED``. Shape (T, H, W), int64.

        Returns:
            ``loss_ce``, a mean over all pixels that are not ignored; and ``loss_dice``, a mean over
            texts.
        """
        losses = dict(loss_ce=self.loss_ce(logits, targets, ignore_index=IGNORED))
        if self.loss_dice is not None:
            # A sigmoid of the difference is the softmax of two.
            margins = logits[:, 1] - logits[:, 0]
            margins = margins.masked_fill(targets == IGNORED, -torch.inf)
            losses['loss_dice'] = self.loss_dice(margins, (targets == 1).float())
        return losses

    def targets(
        self, data_samples: Sequence[GroundingDataSample], shape: tuple[int, int]
    ) -> Tensor:
        """What the pixels of each sample's canvas are.

        Args:
            data_samples: Samples with ``gt_regions.masks`` and ``links``. If several regions are
                linked, their union is foreground; if none is, nothing is.
            shape: Size (H, W) of the logits.

        Returns:
            0 is background and 1 foreground; with ``mask_padding``, ``IGNORED`` is padding. Shape
            (T, H, W), int64.

        Raises:
            ValueError: If a sample has not exactly one phrase or no masks, if the referred region
                has no pixel, or if logits are not of the canvas' size.
        """
        targets = []
        for sample in data_samples:
            check_one_phrase(sample)
            if 'masks' not in sample.gt_regions:
                raise ValueError(
                    f'sample {sample.sample_id!r} has no masks: add LoadGroundingMasks to the '
                    'pipeline'
                )
            canvas = tuple(sample.geometry.canvas_shape)
            if canvas != tuple(shape):
                raise ValueError(
                    f'the logits are {tuple(shape)} (height, width), but the canvas is {canvas}: '
                    'head.upsampling must double the first map of the backbone as often as the '
                    'canvas was halved'
                )
            target = sample.links.new_zeros(canvas)
            if len(sample.links):
                target[referred_mask(sample)] = 1
            if self.mask_padding:
                target[~sample.geometry.valid_cells(canvas).to(target.device)] = IGNORED
            targets.append(target)
        return torch.stack(targets)

    def predict(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
    ) -> list[InstanceData]:
        """Segment what each expression refers to.

        Args:
            feats: Maps of the B images.
            text: The encoded texts, one per sample.
            data_samples: Samples with ``image_index`` and ``geometry``.

        Returns:
            As of :meth:`predict_by_feat`; also ``truncated`` and ``dropped``, (1, ), bool, whether
            the encoder cut something off the text, and whether it read none of it.
        """
        logits = self._scores(feats, text, data_samples, self.test_cfg['keep_stages'])
        results = self.predict_by_feat(logits, data_samples)
        for index, result in enumerate(results):
            result.truncated = text.truncated[index : index + 1]
            result.dropped = ~text.valid[index : index + 1].any(1)
        return results

    def predict_by_feat(
        self, logits: Tensor, data_samples: Sequence[GroundingDataSample]
    ) -> list[InstanceData]:
        """Take the better class of each pixel of the original image.

        Args:
            logits: Of the last stage, or of all. Shape (S, T, 2, H, W).
            data_samples: The T samples.

        Returns:
            Per sample an ``InstanceData`` of one element: ``masks``, bool, (1, ori_h, ori_w);
            ``scores``, (1, ), the mean probability over the mask, 0 if it is empty; and, with
            ``test_cfg.keep_stages``, ``stage_masks``, bool, (1, S, ori_h, ori_w), the masks of
            F_mt^0 .. F_mt^n, of which the last is the result.
        """
        results = []
        by_sample = (logits[:, :, 1] - logits[:, :, 0]).unbind(1)
        for own, sample in zip(by_sample, data_samples, strict=True):
            margins = sample.geometry.inverse_masks(own)
            masks, last = margins > 0, slice(len(margins) - 1, None)
            probs, mask = margins[last].sigmoid(), masks[last]
            area = mask.flatten(1).sum(1)
            scores = (probs * mask).flatten(1).sum(1) / area.clamp(min=1)
            result = InstanceData(masks=mask, scores=scores)
            if self.test_cfg['keep_stages']:
                result.stage_masks = masks[None]
            results.append(result)
        return results
