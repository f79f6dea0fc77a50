"""What the weakly supervised head works on, and what comes out: a batch as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmground.structures import GroundingDataSample, TextFeatures

from .object_graph import GraphOutput
from .phrase_queries import mean_of_groups, rank_in_groups


@dataclass
class RegionBatch:
    """The proposals of B images, padded to M.

    Args:
        boxes: xyxy on the canvas. Shape (B, M, 4).
        labels: Their categories. Shape (B, M), int64.
        valid: False at padding. Shape (B, M), boolean.
        image_shapes: (height, width) of each resized image, without padding. Shape (B, 2).
        features: What the region encoder says of them. Shape (B, M, D); None until it is asked.
    """

    boxes: Tensor
    labels: Tensor
    valid: Tensor
    image_shapes: Tensor
    features: Tensor | None = None

    @classmethod
    def pack(cls, data_samples: Sequence[GroundingDataSample], device) -> 'RegionBatch':
        """Collect the proposals of a batch.

        Args:
            data_samples: Samples with ``proposals`` (``bboxes``, xyxy in pixels of the original
                image, and ``labels``), ``geometry`` and ``image_index``. Samples of an image have
                the same proposals.
            device: Where the tensors go.

        Raises:
            ValueError: If a sample has no proposals, or samples of an image have different ones,
                or an image does not lie in the corner of its canvas.
        """
        first: dict[int, GroundingDataSample] = {}
        for sample in data_samples:
            if 'proposals' not in sample or not len(sample.proposals.bboxes):
                raise ValueError(
                    f'sample {sample.sample_id!r} has no proposals: add LoadProposals to the '
                    'pipeline, and detect again with a lower score threshold if the file has none '
                    'for this image'
                )
            if any(sample.geometry.offset):
                raise ValueError(
                    f'sample {sample.sample_id!r}: the image must lie in the corner of the canvas'
                )
            other = first.setdefault(sample.image_index, sample)
            if not torch.equal(other.proposals.bboxes, sample.proposals.bboxes):
                raise ValueError(
                    f'the samples {other.sample_id!r} and {sample.sample_id!r} are of one image '
                    'but have different proposals: give them the same'
                )
        samples = [first[index] for index in range(len(first))]
        counts = torch.tensor([len(sample.proposals.bboxes) for sample in samples])
        valid = torch.arange(int(counts.max())) < counts[:, None]
        boxes = torch.zeros(*valid.shape, 4)
        labels = torch.zeros(valid.shape, dtype=torch.int64)
        own_boxes = [sample.geometry.boxes(sample.proposals.bboxes).cpu() for sample in samples]
        boxes[valid] = torch.cat(own_boxes).float()
        labels[valid] = torch.cat([sample.proposals.labels for sample in samples]).cpu().long()
        shapes = torch.tensor([sample.geometry.img_shape for sample in samples])
        return cls(boxes.to(device), labels.to(device), valid.to(device), shapes.to(device))

    def check_channels(self, visual: int, spatial: int) -> None:
        """Check how wide the features are.

        Args:
            visual: ``in_channels`` of the head.
            spatial: Its ``spatial_channels``.

        Raises:
            ValueError: If they are not as wide as both.
        """
        found = self.features.shape[-1]
        if found != visual + spatial:
            raise ValueError(
                f'regions have {found} channels, but model.head.in_channels is {visual} and '
                f'model.head.spatial_channels is {spatial}: the latter must be 2 * roi_size ** 2 '
                'with model.region_encoder.spatial=True, and 0 without'
            )

    def rows(self) -> tuple[Tensor, Tensor]:
        """The proposals without padding, (n, 4), and the image of each, (n, )."""
        return self.boxes[self.valid], self.valid.nonzero()[:, 0]


@dataclass
class PhraseBatch:
    """The phrases of T texts, packed: P of them.

    Args:
        features: The mean of the states of a phrase's words. Shape (P, C).
        sentences: The mean of the states of all words of a text. Shape (T, C).
        text_index: The text of each phrase, ascending. Shape (P, ).
        image_of_text: The image of each text. Shape (T, ).
        edges: Related phrases, subject and object, indices of P. Shape (E, 2).
        edge_labels: Which relations they have; none for an unknown one. Shape (E, R), boolean; None
            if relations have no labels.
        words: The words of each phrase that the encoder read, in lower case.
        embeddings: Those words without context, padded behind. Shape (P, L, E).
        counts: Phrases of each text.
        semantic: s^a of the proposals of its image. Shape (P, M); None until it is computed.
    """

    features: Tensor
    sentences: Tensor
    text_index: Tensor
    image_of_text: Tensor
    edges: Tensor
    edge_labels: Tensor | None
    words: list[list[str]]
    embeddings: Tensor
    counts: tuple[int, ...]
    semantic: Tensor | None = None

    def check_channels(self, channels: int) -> None:
        """Check how wide features and embeddings are.

        Args:
            channels: Of the head.

        Raises:
            ValueError: If they are not as wide.
        """
        widths = (self.features.shape[-1], self.embeddings.shape[-1])
        if set(widths) != {channels}:
            raise ValueError(
                f'model.text_encoder has channels={widths[0]} and embed_channels={widths[1]}, but '
                f'model.head.channels is {channels}: all three must be equal, because phrases are '
                'paired with regions, and read by the decoder, without a projection'
            )

    @property
    def owner(self) -> Tensor:
        """The image of each phrase. Shape (P, )."""
        return self.image_of_text[self.text_index]

    @property
    def num_texts(self) -> int:
        """Number of texts, T."""
        return len(self.image_of_text)

    @property
    def dropped(self) -> Tensor:
        """Phrases of which the encoder read no word. Shape (P, ), boolean."""
        return torch.tensor([not own for own in self.words], device=self.features.device)

    @classmethod
    def pack(cls, text: TextFeatures, data_samples: Sequence[GroundingDataSample]) -> 'PhraseBatch':
        """Collect the phrases of a batch.

        Args:
            text: The encoded texts, with ``embeddings``, one per sample.
            data_samples: Samples with ``phrases`` and ``image_index``; ``relations`` and
                ``relation_labels`` where there are any.

        Raises:
            ValueError: If only some samples tell which predicates hold, or of other numbers.
        """
        device = text.pieces.device
        counts = [len(sample.phrases) for sample in data_samples]
        spans = [phrase['span'] for sample in data_samples for phrase in sample.phrases]
        spans = torch.tensor(spans, dtype=torch.int64).reshape(-1, 2).to(device)
        text_index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(device)
        states, phrase, place = text.phrase_pieces(spans, text_index)
        slot = rank_in_groups(place, phrase)
        words: list[list[str]] = [[] for _ in spans]
        owner = text_index[phrase]
        texts = [sample.text for sample in data_samples]
        # In one piece, because the device is waited for at each copy from it.
        read = torch.column_stack((phrase, owner, text.offsets[owner, place]))
        for index, own, start, end in read.tolist():
            words[index].append(texts[own][start:end].lower())
        length = max(map(len, words), default=0)
        embeddings = text.embeddings.new_zeros(len(words), length, text.embeddings.shape[-1])
        embeddings = embeddings.index_put((phrase, slot), text.embeddings[owner, place])
        valid = text.valid[..., None].to(text.pieces)
        sentences = (text.pieces * valid).sum(1) / valid.sum(1).clamp(min=1)
        starts = torch.tensor([0, *counts]).cumsum(0).tolist()
        edges, labels = [], []
        for start, sample in zip(starts[:-1], data_samples, strict=True):
            if 'relations' in sample and len(sample.relations):
                edges.append(sample.relations.to(device) + start)
                if 'relation_labels' in sample:
                    labels.append(sample.relation_labels.to(device).bool())
        if labels and len(labels) != len(edges):
            raise ValueError('some samples of the batch have relation_labels, and others have none')
        return cls(
            features=mean_of_groups(states, phrase, len(words)),
            sentences=sentences,
            text_index=text_index,
            image_of_text=torch.tensor(
                [sample.image_index for sample in data_samples], device=device
            ),
            edges=torch.cat(edges) if edges else spans.new_zeros(0, 2),
            edge_labels=torch.cat(labels) if labels else None,
            words=words,
            embeddings=embeddings,
            counts=tuple(counts),
        )


def unmatched_phrases(semantic: Tensor, valid: Tensor) -> Tensor:
    """Phrases that are similar to no candidate.

    Args:
        semantic: s^a. Shape (P, n).
        valid: False at padding. Shape (P, n), boolean.

    Returns:
        True where s^a > 0 at none. Shape (P, ), boolean.
    """
    return ~(valid & (semantic > 0)).any(1)


@dataclass
class Stage:
    """A round of matching: each of P phrases with n candidates.

    Args:
        boxes: The candidates, xyxy on the canvas. Shape (P, n, 4).
        valid: False at padding. Shape (P, n), boolean.
        visual: What they look like. Shape (B, n, C) for the proposals of the images (coarse),
            (P, n, C) for those of each phrase (fine).
        semantic: s^a. Shape (P, n).
        scores: The matching network's, before s^a. Shape (P, n).
        logits: What the softmax is of: ``scores`` times s^a, or, of a phrase that is matched
            without it, ``scores``. Shape (P, n).
        attention: alpha. Shape (P, n).
        deltas: Offsets, see :func:`decode_boxes`. Shape (P, n, 4); None without regression.
        context: z, what each phrase sees. Shape (P, C).
    """

    boxes: Tensor
    valid: Tensor
    visual: Tensor
    semantic: Tensor
    scores: Tensor
    logits: Tensor
    attention: Tensor
    deltas: Tensor | None
    context: Tensor

    @property
    def unmatched(self) -> Tensor:
        """See :func:`unmatched_phrases`."""
        return unmatched_phrases(self.semantic, self.valid)


@dataclass
class WeakGrounding:
    """What the head computes of a batch.

    Args:
        phrases: Features of the phrases, normalised. Shape (P, C).
        coarse: Proposals of the images.
        topk: The chosen proposals of each phrase, best first. Shape (P, K); None without a fine
            stage, as are the following.
        topk_attention: Their coarse attention. Shape (P, K).
        fine: The chosen proposals, refined.
        refined: ``fine.visual`` before the graph. Shape (P, K, C).
        fused: Coarse times fine attention. Shape (P, K).
        graph: What the object graph computed; None without.
        refining: Whether the boxes of the fine stage were moved.
    """

    phrases: Tensor
    coarse: Stage
    topk: Tensor | None = None
    topk_attention: Tensor | None = None
    fine: Stage | None = None
    refined: Tensor | None = None
    fused: Tensor | None = None
    graph: GraphOutput | None = None
    refining: bool = False
