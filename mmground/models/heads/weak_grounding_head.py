from collections.abc import Sequence
from typing import Protocol

import torch
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmground.registry import MODELS
from mmground.structures import GroundingDataSample, TextFeatures

from ..layers.masked_softmax import masked_softmax, plain_softmax
from ..layers.segment_batch_norm import SegmentBatchNorm1d, SegmentStatistics
from ..losses.per_text import sum_per_text
from ..task_modules.box_deltas import clip_boxes, decode_boxes
from .inference_settings import fill_test_cfg
from .pair_network import PairNetwork
from .relation_classifier import RelationClassifier
from .weak_grounding_batch import (
    PhraseBatch,
    RegionBatch,
    Stage,
    WeakGrounding,
    unmatched_phrases,
)
from .weak_grounding_boxes import choose_boxes, pack_boxes, split_graph

STAGES = ('coarse', 'fine')


class Describe(Protocol):
    """Boxes (n, 4) on the canvas and the image of each (n, ) to features (n, D)."""

    def __call__(self, boxes: Tensor, image_index: Tensor, fixed: bool = False) -> Tensor:
        """See :meth:`Grounder.describe_regions`."""


@MODELS.register_module()
class WeakGroundingHead(BaseModule):
    """Phrases find their boxes without ever being shown one: ReIR.

    `Relation-aware Instance Refinement for Weakly Supervised Visual Grounding
    <https://arxiv.org/abs/2103.12989>`_. Every phrase is matched with the proposals of its image
    (coarse, Sec. 3.2.2); the best K are moved by their predicted offsets and described anew;
    phrases that are related exchange what they see (:class:`ObjectGraph`, Sec. 3.2.3); and the K
    are matched again (fine, Sec. 3.2.4). What a phrase attends to must let a decoder rebuild the
    phrase, tell how phrases are related, and match the text better than the images of other texts
    do; offsets learn from the most confident proposal (Sec. 3.3).

    Defaults are the official code's forms, and the paper's are settings. All texts of a batch
    are computed together.

    Args:
        in_channels: Visual channels of a region.
        spatial_channels: Channels of a region's place behind them; 0 as in the official recipe. The
            paper has 98, with ``RegionEncoder(spatial=True)``.
        spatial_embed_channels: Width that the place is embedded in.
        channels: d, the common width, and that of text features and embeddings.
        joint_channels: Width in which images and texts are compared.
        topk: K.
        num_stages: 2, or 1 for coarse matching alone.
        matcher_channels: Hidden channels of F_cls. None is a single linear layer, as in the
            official code, whose score of a region does not depend on the phrase; the paper's
            Eq. 2 has two.
        regressor_channels: Hidden channels of F_reg. None: boxes are not moved.
        regress_with_phrase: Whether F_reg sees the phrase (Table 2: ``w/o x_q``).
        similarity: Config of s^a, a :class:`SemanticSimilarity`.
        softmax: What makes attention of scores: ``'masked'``, :func:`masked_softmax` over the
            candidates with s^a > 0, as the official code; or ``'plain'``, over all, Eqs. 4 and 9.
        unmatched: What a phrase attends to that is similar to no proposal, of which s^a > 0:
            ``'zero'``, what comes out of its s^a. Of 0 it is nothing (the ``'plain'`` softmax: all
            alike), so that its box is that of the first proposal. Or ``'scores'``, the softmax
            without s^a.
        graph: Config of the :class:`ObjectGraph`. None leaves it out.
        decoder: Config of the :class:`PhraseDecoder`.
        num_relations: C_r, relations to tell apart, or the file that has them, see
            :class:`RelationClassifier`; 0 tells none.
        fine_context: What z^f is weighted with: ``'fused'``, as the official code, or ``'fine'``,
            as the paper.
        fusion: What Eq. 11 multiplies at inference: the ``'attention'`` of both stages, as the
            official code, or their ``'scores'``, as the paper, where two negative ones are a
            positive one.
        per_image_bn: Whether batch normalisation in training has statistics for each image and
            each text, as the official code, or for the batch.
        single_phrase_bn: See ``single_row`` of :class:`SegmentBatchNorm1d`: what normalises the
            phrase of a text that has one.
        loss_rec: Config of the reconstruction loss.
        loss_reg: Config of the self-taught regression loss; not used without regression.
        loss_rel: Config of the relation loss; not used without relations.
        loss_rank: Config of the ranking loss. None leaves it out.
        rec_stages: Stages that are reconstructed: ``('fine', )``, as the official code, or both, as
            Eq. 14.
        rank_stages: Stages that are ranked.
        reg_start: Since when offsets are trained: ``'always'``, as the official code, where only
            their use starts later, or ``'refining'``, since boxes are moved, as the paper.
        detach_boxes: Whether the refined boxes are constants to the loss of the fine offsets. The
            official code lets their gradient through.
        reduction: How losses of texts are put together: ``'sum'``, as the official code, so that
            the learning rate belongs to a batch size, or ``'mean'``.
        ignore_same_image: Whether other texts of the same image are no negatives of the ranking
            loss.
        test_cfg: ``refine``, whether boxes are moved at inference (True), ``keep_candidates``,
            whether predictions keep all proposals for recalls (True), and ``keep_graph``, whether
            they keep the weights of the object graph (False).
        init_cfg: Initialisation. None is PyTorch's, which is the official code's.

    Raises:
        ValueError: If there is no such setting, or settings contradict each other.
    """

    refining: bool
    """Whether a training moves boxes, see :class:`~mmground.engine.RefinementStartHook`."""

    def __init__(
        self,
        in_channels: int = 2048,
        spatial_channels: int = 0,
        spatial_embed_channels: int = 256,
        channels: int = 1024,
        joint_channels: int = 512,
        topk: int = 5,
        num_stages: int = 2,
        matcher_channels: int | None = None,
        regressor_channels: int | None = 256,
        regress_with_phrase: bool = True,
        similarity: dict | None = None,
        softmax: str = 'masked',
        unmatched: str = 'zero',
        graph: dict | None = None,
        decoder: dict | None = None,
        num_relations: int | str = 0,
        fine_context: str = 'fused',
        fusion: str = 'attention',
        per_image_bn: bool = True,
        single_phrase_bn: str = 'zero',
        loss_rec: dict | None = None,
        loss_reg: dict | None = None,
        loss_rel: dict | None = None,
        loss_rank: dict | None = None,
        rec_stages: Sequence[str] = ('fine',),
        rank_stages: Sequence[str] = STAGES,
        reg_start: str = 'always',
        detach_boxes: bool = False,
        reduction: str = 'sum',
        ignore_same_image: bool = False,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        for name, value, choices in (
            ('num_stages', num_stages, (1, 2)),
            ('softmax', softmax, ('masked', 'plain')),
            ('unmatched', unmatched, ('zero', 'scores')),
            ('fine_context', fine_context, ('fused', 'fine')),
            ('fusion', fusion, ('attention', 'scores')),
            ('reg_start', reg_start, ('always', 'refining')),
            ('reduction', reduction, ('sum', 'mean')),
        ):
            if value not in choices:
                raise ValueError(f'{name} must be one of {choices}, got {value!r}')
        stages = STAGES[:num_stages]
        for name, value in (('rec_stages', rec_stages), ('rank_stages', rank_stages)):
            if not set(value) <= set(stages):
                raise ValueError(f'{name} must be among the stages {stages}, got {value!r}')
        if num_stages == 1 and (graph is not None or num_relations):
            raise ValueError('the graph and the relations are of the fine stage: num_stages=2')
        self.topk = topk
        self.num_stages = num_stages
        self.in_channels = in_channels
        self.spatial_channels = spatial_channels
        self.channels = channels
        self.softmax = softmax
        self.unmatched = unmatched
        self.fine_context = fine_context
        self.fusion = fusion
        self.reg_start = reg_start
        self.detach_boxes = detach_boxes
        self.reduction = reduction
        self.ignore_same_image = ignore_same_image
        self.rec_stages = tuple(rec_stages)
        self.rank_stages = tuple(rank_stages)
        self.test_cfg = fill_test_cfg(test_cfg, refine=True, keep_candidates=True, keep_graph=False)
        self.refining = True
        norm = dict(per_segment=per_image_bn, single_row=single_phrase_bn)
        self.spatial_embedding = None
        if spatial_channels:
            self.spatial_embedding = nn.Linear(spatial_channels, spatial_embed_channels)
            in_channels += spatial_embed_channels
        self.visual_embedding = nn.Linear(in_channels, channels)
        # The official code cannot train on an image with one proposal.
        self.visual_norm = SegmentBatchNorm1d(
            channels, per_segment=per_image_bn, single_row='running'
        )
        self.phrase_norm = SegmentBatchNorm1d(channels, **norm)
        self.similarity = MODELS.build(dict(type='SemanticSimilarity') | (similarity or {}))
        self.matcher = PairNetwork(channels, 1, matcher_channels)
        self.box_regressor = None
        if regressor_channels is not None:
            self.box_regressor = PairNetwork(channels, 4, regressor_channels, regress_with_phrase)
        self.graph = None
        if graph is not None:
            self.graph = MODELS.build(dict(type='ObjectGraph', channels=channels) | graph)
        self.decoder = MODELS.build(dict(type='PhraseDecoder', channels=channels) | (decoder or {}))
        self.relation = None
        if num_relations:
            self.relation = RelationClassifier(channels, num_relations)
        self.image_proj = self.sentence_proj = None
        if loss_rank is not None:
            self.image_proj = nn.Linear(channels, joint_channels)
            self.sentence_proj = nn.Linear(channels, joint_channels)
        self.loss_rec = MODELS.build(loss_rec or dict(type='ReconstructionLoss'))
        self.loss_reg = MODELS.build(loss_reg or dict(type='SelfTaughtRegressionLoss'))
        self.loss_rel = MODELS.build(loss_rel or dict(type='RelationLoss'))
        self.loss_rank = None if loss_rank is None else MODELS.build(loss_rank)

    def forward(
        self, regions: RegionBatch, phrases: PhraseBatch, describe: Describe
    ) -> WeakGrounding:
        """Match, refine, match again.

        Args:
            regions: The proposals, with ``features``.
            phrases: The phrases, with ``semantic``.
            describe: Features of other boxes.

        Returns:
            Both stages. In training mode, running statistics have moved.

        Raises:
            ValueError: If the features are not as wide as the head's settings say.
        """
        regions.check_channels(self.in_channels, self.spatial_channels)
        phrases.check_channels(self.channels)
        own, phrase_statistics = self.phrase_norm(
            phrases.features, phrases.text_index, phrases.num_texts
        )
        owner, valid = phrases.owner, regions.valid
        visual = regions.boxes.new_zeros(*valid.shape, own.shape[1])
        rows, statistics = self._embed(regions.features[valid], valid.nonzero()[:, 0], len(valid))
        visual[valid] = rows
        coarse = self._match(
            own, visual, regions.boxes[owner], phrases.semantic, valid[owner], owner
        )
        # The same image counts once for each of its texts.
        passes = [statistics and statistics.select(phrases.image_of_text)]
        result = WeakGrounding(own, coarse)
        if self.num_stages == 2:
            refining = self.refining if self.training else self.test_cfg['refine']
            result.refining = bool(refining) and self.box_regressor is not None
            passes.append(self._refine(result, regions, phrases, describe))
        if self.training:
            self.phrase_norm.track([phrase_statistics])
            self.visual_norm.track([own for own in passes if own is not None])
        return result

    def _embed(
        self, features: Tensor, segment: Tensor, num_segments: int
    ) -> tuple[Tensor, SegmentStatistics | None]:
        """Regions (n, D) to the common width, normalised. Shape (n, C)."""
        if self.spatial_embedding is not None:
            visual, places = features.tensor_split([self.in_channels], dim=1)
            features = torch.cat((visual, self.spatial_embedding(places).relu()), dim=1)
        return self.visual_norm(self.visual_embedding(features).relu(), segment, num_segments)

    def _match(
        self,
        phrases: Tensor,
        visual: Tensor,
        boxes: Tensor,
        semantic: Tensor,
        valid: Tensor,
        owner: Tensor | None = None,
    ) -> Stage:
        """Eqs. 2-4, or 9-10 without ``owner``; z^c, which the fine stage replaces."""
        scores = self.matcher(phrases, visual, owner)[..., 0].float()
        deltas = None
        if self.box_regressor is not None:
            deltas = self.box_regressor(phrases, visual, owner).float()
            deltas = deltas.expand(len(phrases), -1, -1)
        logits = scores * semantic
        mask = valid & (semantic > 0) if self.softmax == 'masked' else valid
        if self.unmatched == 'scores':
            lonely = unmatched_phrases(semantic, valid)[:, None]
            logits, mask = torch.where(lonely, scores, logits), mask | (lonely & valid)
        if self.softmax == 'masked':
            attention = masked_softmax(logits, mask, valid=valid)
        else:
            attention = plain_softmax(logits, mask)
        candidates = visual if owner is None else visual[owner]
        return Stage(
            boxes,
            valid,
            visual,
            semantic,
            scores,
            logits,
            attention,
            deltas,
            _mix(attention, candidates),
        )

    def _refine(
        self,
        result: WeakGrounding,
        regions: RegionBatch,
        phrases: PhraseBatch,
        describe: Describe,
    ) -> SegmentStatistics | None:
        """Select K proposals of each phrase, move them, put them into context, match again."""
        coarse, owner = result.coarse, phrases.owner
        # A stable order: of equal proposals, such as of a phrase without attention, the first.
        ranked = coarse.attention.masked_fill(~coarse.valid, -1)
        topk = ranked.sort(dim=1, descending=True, stable=True).indices[:, : self.topk]
        attention, valid = coarse.attention.gather(1, topk), coarse.valid.gather(1, topk)
        boxes = _gather(coarse.boxes, topk)
        statistics = None
        if result.refining:
            boxes = decode_boxes(boxes, _gather(coarse.deltas, topk))
            boxes = clip_boxes(boxes, regions.image_shapes[owner][:, None])
            of_phrase = valid.nonzero()[:, 0]
            features = describe(boxes.detach()[valid], owner[of_phrase])
            rows, statistics = self._embed(
                features, phrases.text_index[of_phrase], phrases.num_texts
            )
            visual = rows.new_zeros(*valid.shape, rows.shape[1])
            visual[valid] = rows
        else:
            visual = coarse.visual[owner[:, None], topk]
        refined = visual
        if self.graph is not None:
            nodes = _mix(attention, visual)
            result.graph = self.graph(nodes, phrases.edges, phrases.text_index)
            visual = visual + attention[..., None] * result.graph.context[:, None]
        fine = self._match(result.phrases, visual, boxes, phrases.semantic.gather(1, topk), valid)
        fused = fine.attention * attention
        if self.fine_context == 'fused':
            fine.context = _mix(fused, visual)
        result.topk, result.topk_attention, result.fine = topk, attention, fine
        result.refined, result.fused = refined, fused
        return statistics

    def similarities(self, context: Tensor, phrases: PhraseBatch) -> Tensor:
        """How well images match texts, by what the phrases of a text see there.

        Args:
            context: z of a stage. Shape (P, C).
            phrases: The phrases.

        Returns:
            Images in rows, texts in columns. Shape (T, T).
        """
        counts = torch.bincount(phrases.text_index, minlength=phrases.num_texts)
        seen = sum_per_text(context, phrases.text_index, phrases.num_texts)
        images = self.image_proj(seen / counts.clamp(min=1)[:, None])
        texts = self.sentence_proj(phrases.sentences)
        return (images @ texts.T).float() / images.shape[1] ** 0.5

    def relation_logits(self, context: Tensor, edges: Tensor) -> Tensor:
        """Eq. 16.

        Args:
            context: z. Shape (P, C).
            edges: Subject and object of each relation. Shape (E, 2).

        Returns:
            Shape (E, C_r).
        """
        return self.relation(context[edges].flatten(1))

    def pack(
        self, text: TextFeatures, data_samples: Sequence[GroundingDataSample]
    ) -> tuple[RegionBatch, PhraseBatch]:
        """Collect proposals and phrases of a batch, and compare their words (s^a, Eq. 3).

        Args:
            text: The encoded texts, with ``embeddings``.
            data_samples: Samples with ``proposals``. Nothing else is read of them than of an image
                without annotations, but for ``relations``.
        """
        regions = RegionBatch.pack(data_samples, text.pieces.device)
        phrases = PhraseBatch.pack(text, data_samples)
        phrases.semantic = self.similarity(phrases.words, regions.labels, phrases.owner)
        return regions, phrases

    def prepare(
        self,
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
        describe: Describe,
    ) -> tuple[RegionBatch, PhraseBatch]:
        """Collect proposals and phrases of a batch, as :meth:`forward` takes them.

        Args:
            text: As of :meth:`pack`.
            data_samples: As of :meth:`pack`.
            describe: Features of boxes; told of the proposals that they are ``fixed``.
        """
        regions, phrases = self.pack(text, data_samples)
        boxes, image_index = regions.rows()
        described = describe(boxes, image_index, fixed=True)
        features = described.new_zeros(*regions.valid.shape, described.shape[1])
        features[regions.valid] = described
        regions.features = features
        return regions, phrases

    def ground(
        self,
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
        describe: Describe,
    ) -> tuple[WeakGrounding, PhraseBatch]:
        """Prepare a batch and run :meth:`forward` on it; arguments of :meth:`prepare`."""
        regions, phrases = self.prepare(text, data_samples, describe)
        return self(regions, phrases, describe), phrases

    def tensor(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
        describe: Describe,
    ) -> WeakGrounding:
        """Raw outputs: those of :meth:`forward`."""
        return self.ground(text, data_samples, describe)[0]

    def loss(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
        describe: Describe,
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            feats: Not used: regions come from ``describe``.
            text: The encoded texts, one per sample.
            data_samples: See :meth:`prepare`; annotated boxes are not read.
            describe: Features of boxes.

        Returns:
            See :meth:`loss_by_feat`; and ``dropped_phrases``, of which the text encoder reads no
            word, ``unmatched_phrases``, which are similar to no proposal, and ``unknown_words``,
            which the decoder's vocabulary lacks.
        """
        result, phrases = self.ground(text, data_samples, describe)
        targets, mask = self.decoder.targets(phrases.words, text.pieces.device)
        losses = self.loss_by_feat(result, phrases, targets, mask)
        words = sum(map(len, phrases.words)) + len(phrases.words)
        losses['dropped_phrases'] = phrases.dropped.sum().float()
        losses['unmatched_phrases'] = result.coarse.unmatched.sum().float()
        losses['unknown_words'] = words - mask.sum().float()
        return losses

    def loss_by_feat(
        self, result: WeakGrounding, phrases: PhraseBatch, word_ids: Tensor, word_mask: Tensor
    ) -> dict[str, Tensor]:
        """Eq. 12.

        Args:
            result: Of :meth:`forward`.
            phrases: Its phrases.
            word_ids: What the decoder is to tell. Shape (P, L + 1).
            word_mask: Words that count. Shape (P, L + 1), boolean.

        Returns:
            As far as they are switched on, ``loss_rec_coarse``, ``loss_reg_coarse``,
            ``loss_rank_coarse``, the same of the fine stage, and ``loss_rel``.
        """
        group = (phrases.text_index, phrases.num_texts)
        losses = {}
        for name in STAGES[: self.num_stages]:
            stage: Stage = getattr(result, name)
            if name in self.rec_stages:
                logits = self.decoder(stage.context, phrases.embeddings)
                losses[f'loss_rec_{name}'] = self._reduce(
                    self.loss_rec(logits, word_ids, word_mask, *group)
                )
            if stage.deltas is not None:
                boxes = stage.boxes.detach() if self.detach_boxes else stage.boxes
                loss = self._reduce(
                    self.loss_reg(stage.deltas, boxes, stage.attention, stage.valid, *group)
                )
                trains_offsets = self.reg_start == 'always' or self.refining
                # Not left out, because in distributed training each parameter needs a gradient.
                losses[f'loss_reg_{name}'] = loss if trains_offsets else 0 * loss
            if self.loss_rank is not None and name in self.rank_stages:
                image = phrases.image_of_text
                ignored = image[:, None] == image if self.ignore_same_image else None
                loss = self.loss_rank(self.similarities(stage.context, phrases), ignored)
                scale = 1 if self.reduction == 'sum' else 1 / phrases.num_texts
                losses[f'loss_rank_{name}'] = scale * loss
        if self.relation is not None:
            logits = self.relation_logits(result.fine.context, phrases.edges)
            text_index = phrases.text_index[phrases.edges[:, 0]]
            losses['loss_rel'] = self._reduce(
                self.loss_rel(logits, phrases.edge_labels, text_index, phrases.num_texts)
            )
        return losses

    def _reduce(self, losses: Tensor) -> Tensor:
        return losses.sum() if self.reduction == 'sum' else losses.mean()

    def predict(
        self,
        feats: Sequence[Tensor],
        text: TextFeatures,
        data_samples: Sequence[GroundingDataSample],
        describe: Describe,
    ) -> list[InstanceData]:
        """Ground all phrases of a batch.

        Args:
            feats: Not used: regions come from ``describe``.
            text: The encoded texts, one per sample.
            data_samples: See :meth:`prepare`.
            describe: Features of boxes.

        Returns:
            Per sample, element i for phrase i; boxes are xyxy in pixels of the original image.
            ``bboxes`` and ``scores`` are the result, with what it was ranked by (Eq. 11; with
            ``fusion='scores'`` no probabilities). By themselves, ``bboxes_coarse`` and
            ``scores_coarse``, ``bboxes_fine`` and ``scores_fine``; with one stage the coarse ones
            only. ``bboxes_initial`` is the proposal that ``bboxes`` came from. ``dropped``, (N, ),
            bool, phrases of which the text encoder reads no word, and ``unmatched``, those that are
            similar to no proposal (s^a > 0 at none). With ``test_cfg.keep_candidates`` also
            ``candidate_bboxes``, (N, M, 4), all proposals as the coarse stage moves them, and their
            ``candidate_scores``, (N, M). With ``test_cfg.keep_graph`` and a graph also
            ``graph_weights``, (N, N), omega of Eq. 7: row i is how much phrase i takes from each
            other.
        """
        result, phrases = self.ground(text, data_samples, describe)
        boxes = self.predict_by_feat(result)
        boxes['dropped'] = phrases.dropped
        boxes['unmatched'] = result.coarse.unmatched
        results = pack_boxes(boxes, phrases.counts, data_samples, self.test_cfg['keep_candidates'])
        if self.test_cfg['keep_graph'] and result.graph is not None:
            weights = split_graph(result.graph.weights, phrases.counts)
            for found, own in zip(results, weights, strict=True):
                found.graph_weights = own
        return results

    def predict_by_feat(self, result: WeakGrounding) -> dict[str, Tensor]:
        """Choose a box for each phrase, see :func:`choose_boxes`.

        Args:
            result: Of :meth:`forward`.

        Returns:
            Boxes on the canvas, not clipped, and scores, as :meth:`predict` names them.
        """
        return choose_boxes(result, self.fusion, self.test_cfg['refine'])


def _mix(weights: Tensor, candidates: Tensor) -> Tensor:
    """Weighted sum (P, C) of candidates (P, n, C)."""
    return (weights[:, None] @ candidates)[:, 0]


def _gather(values: Tensor, index: Tensor) -> Tensor:
    """Elements (P, k, 4) of (P, n, 4)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))
