from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule, ModuleList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmground.registry import MODELS
from mmground.structures import GroundingDataSample, TextFeatures, grid_targets, phrase_masks

from ..layers.conv_module import PlainConvModule
from ..layers.deformable_attention import flatten_levels
from ..layers.matching import match_pixels
from .inference_settings import fill_test_cfg
from .matching_round import MatchingState
from .phrase_queries import QUERIES, PhraseQueries, mean_of_groups


@MODELS.register_module()
class PhrasePixelHead(BaseModule):
    """The phrase-pixel family: match queries with pixels, refine, match again.

    Secs. 3.2-3.3 of `PPMN <https://doi.org/10.1145/3503161.3548086>`_. A query is a word
    piece of a phrase, as in the official code: it is supervised with its phrase's mask,
    and at inference the probabilities of a phrase's pieces are averaged; with
    ``test_cfg.pooling='logits'`` their logits, which are what the paper calls matching maps (Sec.
    4.2). With ``query='phrase'`` a query is a phrase, as R in the paper's Secs. 3.1-3.2: the
    mean of the features of its pieces. How a round refines the queries is the part
    ``refinement``, which makes the system.

    Other defaults are forms of the official code, too. The projection of F has a GroupNorm and a
    ReLU; with ``pixel_proj='linear'`` it is the paper's (Eq. 1). Maps are supervised at twice the
    resolution of F; with ``supervision_scale=1`` at that of F, as the paper (Sec. 3.2).

    `DRMN <https://github.com/JaMesLiMers/DRMN>`_ is of this family: another refinement, which also
    reads the encoded levels of the pyramid (``feats[1:]``), and in the paper's form other rounds.

    Queries of a batch are packed, ``(M, C)`` with the image of each; padded slots do not
    exist. Maps have the stride of F until they are supervised or read: there they are
    upsampled by two. Where they are read, at inference, they are so however they were
    supervised: the published numbers are of that grid.

    Args:
        in_channels: Channels of F.
        text_channels: Channels of the text features.
        channels: C, the common width of queries and pixels.
        num_rounds: L, rounds of refinement; 0 keeps the first matching only.
        query: What a query is, a word ``'piece'`` of a phrase or a whole ``'phrase'``.
        pixel_proj: The first projection of F: ``'conv'``; ``'linear'``, without bias or what
            follows it; or ``'none'``, if F has C channels already (DRMN's paper). That of the
            queries is linear in all forms, with the official code's bias.
        text_proj: Whether another linear map of the text features to C channels comes before that
            (DRMN's official code).
        matching_round: Config of a round. Defaults to a :class:`MatchingRound`; it also gets
            ``channels``, ``refinement`` and ``norm_cfg``.
        refinement: Config of a round's refinement, such as :class:`LCPA`, the default; it also
            gets ``channels``.
        loss_bce: Config of the loss on logits, Eq. 5.
        loss_dice: Config of the region loss, Eq. 8. The official code has squared
            denominators, ``naive_dice=True`` gives the paper's (Eq. 7).
        target_threshold: A target is foreground where the downsampled mask exceeds this. The
            official 0 dilates every mask by up to a cell; 0.5 does not.
        supervision_scale: Resolution at which maps are supervised, as a multiple of that of F: 1,
            2, 4 or 8.
        supervise_initial: Whether H^0 is supervised, too (DRMN's Eq. 17: not).
        test_cfg: ``threshold``, the probability above which a pixel is foreground (0.5),
            ``pooling``, whether a phrase is the mean of its pieces' ``'probs'`` (the default) or
            the sigmoid of the mean of their ``'logits'``, and ``keep_grid_probs``, whether
            predictions keep the probabilities on the network's grid for metrics that score
            there (False).
        norm_cfg: Normalisation of the pixel projections.
        init_cfg: Initialisation. None is that of the official codes: PyTorch's own, but for
            ``text_proj``, which DRMN draws by Xavier's uniform initialisation.

    Raises:
        ValueError: If there is no such ``query``, ``pixel_proj``, ``supervision_scale`` or
            ``pooling``, or if no map would be supervised.
    """

    def __init__(
        self,
        in_channels: int = 256,
        text_channels: int = 768,
        channels: int = 256,
        num_rounds: int = 3,
        query: str = 'piece',
        pixel_proj: str = 'conv',
        text_proj: bool = False,
        matching_round: dict | None = None,
        refinement: dict | None = None,
        loss_bce: dict | None = None,
        loss_dice: dict | None = None,
        target_threshold: float = 0.0,
        supervision_scale: int = 2,
        supervise_initial: bool = True,
        test_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if query not in QUERIES:
            raise ValueError(f"query must be 'piece' or 'phrase', got {query!r}")
        if pixel_proj not in ('conv', 'linear', 'none'):
            raise ValueError(f"pixel_proj must be 'conv', 'linear' or 'none', got {pixel_proj!r}")
        if supervision_scale not in (1, 2, 4, 8):
            raise ValueError(f'supervision_scale must be 1, 2, 4 or 8, got {supervision_scale!r}')
        if not (supervise_initial or num_rounds):
            raise ValueError('without a round the first map is the result: supervise_initial=True')
        test_cfg = fill_test_cfg(test_cfg, threshold=0.5, pooling='probs', keep_grid_probs=False)
        if test_cfg['pooling'] not in ('probs', 'logits'):
            raise ValueError(
                f"test_cfg.pooling must be 'probs' or 'logits', got {test_cfg['pooling']!r}"
            )
        self.query = query
        norm_cfg = norm_cfg or dict(type='GN', num_groups=32)
        refinement = refinement or dict(type='LCPA')
        loss_bce = loss_bce or dict(type='BCELoss')
        loss_dice = loss_dice or dict(type='mmdet.DiceLoss', eps=1e-3)
        if pixel_proj == 'conv':
            self.pixel_proj = PlainConvModule(in_channels, channels, 1, norm_cfg=norm_cfg)
        elif pixel_proj == 'linear':
            self.pixel_proj = PlainConvModule(in_channels, channels, 1, bias=False, act_cfg=None)
        else:
            self.pixel_proj = nn.Identity()
        self.text_proj = nn.Identity()
        if text_proj:
            self.text_proj = nn.Linear(text_channels, channels)
            # As DRMN's official code, in which it is a part of the encoder.
            nn.init.xavier_uniform_(self.text_proj.weight)
        self.query_proj = nn.Linear(channels if text_proj else text_channels, channels)
        matching_round = dict(
            type='MatchingRound', channels=channels, refinement=refinement, norm_cfg=norm_cfg
        ) | (matching_round or {})
        self.rounds = ModuleList(MODELS.build(matching_round) for _ in range(num_rounds))
        limits = [own.max_queries for own in self.rounds if own.max_queries is not None]
        self.max_queries = min(limits, default=None)
        self.loss_bce = MODELS.build(loss_bce)
        self.loss_dice = MODELS.build(loss_dice)
        self.target_threshold = target_threshold
        self.supervision_scale = supervision_scale
        self.supervise_initial = supervise_initial
        self.test_cfg = test_cfg

    def forward(self, feats: Sequence[Tensor], queries: PhraseQueries) -> list[Tensor]:
        """Match and refine.

        Args:
            feats: F, (B, in_channels, h, w), and further maps of the neck for rounds that read
                them.
            queries: The packed queries, with features of text_channels.

        Returns:
            Raw matching maps H^0 .. H^L, each (M, h, w).
        """
        pixels, levels = self.pixel_proj(feats[0]), tuple(feats[1:])
        features = self.query_proj(self.text_proj(queries.features))
        state = MatchingState(
            queries=features,
            logits=match_pixels(features, pixels, queries.image_index),
            pixels=pixels,
            image_index=queries.image_index,
            slots=queries.slots,
            levels=levels,
            geometries=queries.geometries,
            memory=flatten_levels(levels) if levels else None,
        )
        maps = [state.logits]
        for matching_round in self.rounds:
            state = matching_round(state)
            maps.append(state.logits)
        return maps

    def pack_queries(
        self, text: TextFeatures, data_samples: Sequence[GroundingDataSample]
    ) -> PhraseQueries:
        """Collect the queries of a batch, see :meth:`PhraseQueries.pack`.

        Args:
            text: The encoded texts, one per sample.
            data_samples: Samples whose metainfo has ``phrases``, ``image_index`` and
                ``geometry``.
        """
        return PhraseQueries.pack(text, data_samples, self.query, self.max_queries)

    def match(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
    ) -> tuple[PhraseQueries, list[Tensor]]:
        """Pack the queries of a batch and run :meth:`forward` on them.

        Args:
            feats: F as a tuple of one map (B, in_channels, h, w).
            text: The encoded texts, one per sample.
            data_samples: Samples with ``phrases`` and ``image_index``.

        Returns:
            The queries, and the raw matching maps H^0 .. H^L, each (M, h, w).
        """
        queries = self.pack_queries(text, data_samples)
        return queries, self(feats, queries)

    def tensor(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
    ) -> list[Tensor]:
        """Raw outputs: the matching maps of :meth:`match`, without their queries."""
        return self.match(feats, text, data_samples)[1]

    def loss(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            feats: F as a tuple of one map (B, in_channels, h, w).
            text: The encoded texts, one per sample.
            data_samples: Samples with ``gt_regions`` and ``links``.

        Returns:
            ``loss_bce_l`` and ``loss_dice_l`` for each map l, and ``dropped_phrases``, how
            many phrases take no part because the text encoder reads no piece of them.

        Raises:
            ValueError: If no phrase of the batch is left.
        """
        queries, maps = self.match(feats, text, data_samples)
        if not len(queries.features):
            ids = ', '.join(str(sample.sample_id) for sample in data_samples)
            raise ValueError(
                f'no phrase of the batch (samples {ids}) has a piece that the text encoder reads: '
                'raise model.text_encoder.max_length or leave the samples out'
            )
        targets = self.targets(data_samples, maps[0].shape[-2:])
        losses = self.loss_by_feat(maps, targets[queries.phrase_index])
        losses['dropped_phrases'] = queries.dropped.sum().float()
        return losses

    def targets(
        self, data_samples: Sequence[GroundingDataSample], shape: tuple[int, int]
    ) -> Tensor:
        """Masks of all phrases of a batch at the resolution at which maps are supervised.

        Args:
            data_samples: Samples with ``gt_regions`` and ``links``.
            shape: Size (h, w) of the maps.

        Returns:
            Values in {0, 1}. Shape (P, s h, s w), s being ``supervision_scale``.
        """
        targets = []
        for sample in data_samples:
            masks = phrase_masks(sample.gt_regions.masks, sample.links, len(sample.phrases))
            stride = sample.geometry.canvas_shape[0] // (self.supervision_scale * shape[0])
            targets.append(grid_targets(masks, sample.geometry, stride, self.target_threshold))
        return torch.cat(targets)

    def loss_by_feat(self, maps: Sequence[Tensor], targets: Tensor) -> dict[str, Tensor]:
        """Eq. 9 on every map.

        The official code supervises all of H^0 .. H^L. Eq. 16 ends at L - 1: read
        literally, the map that inference uses would get no gradient, so there is no switch.

        Args:
            maps: Logits, each (M, h, w).
            targets: {0, 1}. Shape (M, s h, s w), s being ``supervision_scale``.

        Returns:
            ``loss_bce_l``, a mean over queries and pixels, and ``loss_dice_l``, a mean
            over queries, for each map l.
        """
        targets = targets.float()
        losses = {}
        for level, logits in enumerate(maps):
            if level == 0 and not self.supervise_initial:
                continue
            logits = upsample(logits, self.supervision_scale)
            losses[f'loss_bce_{level}'] = self.loss_bce(logits, targets)
            losses[f'loss_dice_{level}'] = self.loss_dice(logits, targets)
        return losses

    def predict(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
    ) -> list[InstanceData]:
        """Ground all phrases of a batch.

        Args:
            feats: F as a tuple of one map (B, in_channels, h, w).
            text: The encoded texts, one per sample.
            data_samples: Samples with ``phrases`` and ``geometry``.

        Returns:
            Per sample, element i for phrase i: ``masks``, bool, (N, ori_h, ori_w), where the
            probability exceeds the threshold; ``scores``, (N, ), the mean probability over
            the mask; ``dropped``, bool, (N, ), phrases of which the text encoder reads no
            piece (cut off, or only characters that it discards) and whose mask is empty.
            With ``test_cfg.keep_grid_probs`` also ``grid_probs``, (N, 2h, 2w), the
            probabilities on the network's grid.
        """
        queries, maps = self.match(feats, text, data_samples)
        probs = self.predict_by_feat(maps[-1], queries.phrase_index, sum(queries.counts))
        return [
            self._to_image(own, dropped, sample)
            for own, dropped, sample in zip(
                probs.split(queries.counts),
                queries.dropped.split(queries.counts),
                data_samples,
                strict=True,
            )
        ]

    def predict_by_feat(self, logits: Tensor, phrase_index: Tensor, num_phrases: int) -> Tensor:
        """Pool the last map over each phrase's queries: the mean of their probabilities, or the
        sigmoid of the mean of their logits.

        Args:
            logits: H^L. Shape (M, h, w).
            phrase_index: The phrase of each query. Shape (M, ).
            num_phrases: P.

        Returns:
            Shape (P, 2h, 2w); zero for a phrase without a query.
        """
        maps = upsample(logits, 2)
        if self.test_cfg['pooling'] == 'probs':
            return mean_of_groups(maps.sigmoid(), phrase_index, num_phrases)
        probs = mean_of_groups(maps, phrase_index, num_phrases).sigmoid()
        unread = torch.bincount(phrase_index, minlength=num_phrases) == 0
        return probs.masked_fill(unread[:, None, None], 0)

    def _to_image(
        self, probs: Tensor, dropped: Tensor, sample: GroundingDataSample
    ) -> InstanceData:
        image_probs = sample.geometry.inverse_masks(probs)
        masks = image_probs > self.test_cfg['threshold']
        areas = masks.flatten(1).sum(1)
        scores = (image_probs * masks).flatten(1).sum(1) / areas.clamp(min=1)
        results = InstanceData(masks=masks, scores=scores, dropped=dropped)
        if self.test_cfg['keep_grid_probs']:
            results.grid_probs = probs
        return results


def upsample(logits: Tensor, scale: int) -> Tensor:
    """Enlarge maps (M, h, w), bilinearly and in float32: what follows, losses and probabilities,
    needs the precision."""
    if scale == 1:
        return logits.float()
    # Maps as channels of one image: on the CPU faster than as images of one channel.
    return F.interpolate(logits[None].float(), scale_factor=scale, mode='bilinear')[0]
