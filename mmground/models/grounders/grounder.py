from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from mmengine.model import BaseModel, ModuleDict, ModuleList
from torch import Tensor

from mmground.registry import MODELS
from mmground.structures import GroundingDataSample, TextFeatures, image_geometries

from ..cache_keys import fingerprint
from ..localisers.proposals import BoxProposals, MaskProposals
from ..region_encoders import CachedRegions, RegionFeatureCache, SeparateRegions


@MODELS.register_module()
class Grounder(BaseModel):
    """A grounding system: ``backbone -> neck`` for pixels, ``text_encoder`` for words, and a
    ``head`` that brings them together.

    Everything before the head sees either pixels or words, so an image with many
    texts is encoded once: inputs are the B unique images of a batch, samples are T
    texts, and each sample's ``image_index`` names its image. A head offers ``loss``,
    ``predict`` and ``tensor``, each of ``(feats, text, data_samples)``, where ``feats`` is a
    tuple of maps and ``text`` a :class:`TextFeatures`. With ``localisers``, ``predict`` also gets
    what they propose, a dict by their names. With a ``region_encoder``, all three also get a
    function that describes boxes, see :meth:`describe_regions`; but for losses, it describes each
    image as if it came alone, see :class:`SeparateRegions`, and there are no maps.

    Args:
        backbone: Config of the image backbone.
        text_encoder: Config of the text encoder, texts to :class:`TextFeatures`.
        head: Config of the head.
        neck: Config of the image neck, or a list of them, run in order. A neck with a true
            attribute ``ignore_padding`` also gets the ``valid_mask``, (B, H, W): True on the
            pixels of its input image that are no padding.
        region_encoder: Config of what describes boxes, from the last map.
        region_cache: Arguments of a :class:`RegionFeatureCache` (``path``, ``keep_maps``), from
            which training takes the features of boxes that stay the same. What comes before them
            must be frozen, runs for images that are new alone, and gives the head no maps.
            Predictions do without the cache. None: nothing is kept.
        frozen: Names of parts that are not trained: ``'backbone'``, ``'neck'``,
            ``'neck.0'``, ``'region_encoder'``, ``'text_encoder'``. They take no gradient, run under
            ``no_grad`` and stay in eval mode. What comes before a frozen part must be frozen too.
        dropout_in_frozen: Names of frozen parts that follow the model into training mode
            all the same, so that their dropout is on (the official PPMN's BERT).
        frozen_dtype: ``'bfloat16'`` or ``'float16'`` runs the frozen parts under autocast, in
            training and inference, whatever the precision of the others, which get float32
            from them. None leaves them with the others.
        channels_last: Whether images and the weights of convolutions are in memory with the
            channels behind the places, with which CPUs train convolutions faster. What is computed
            is the same but for rounding.
        localisers: Configs of frozen detectors by what they propose, ``box`` or ``mask``, see
            :class:`Localiser`. They run for predictions only, once for each image, and stand in
            the model's checkpoints. None in place of a config leaves one out.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Initialisation of the whole model.

    Raises:
        ValueError: If parts cannot be frozen like this, or there is no such ``frozen_dtype``.
    """

    def __init__(
        self,
        backbone: dict,
        text_encoder: dict,
        head: dict,
        neck: dict | Sequence[dict] = (),
        region_encoder: dict | None = None,
        region_cache: dict | None = None,
        frozen: Sequence[str] = (),
        dropout_in_frozen: Sequence[str] = (),
        frozen_dtype: str | None = None,
        channels_last: bool = False,
        localisers: dict[str, dict] | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            data_preprocessor or dict(type='GroundingDataPreprocessor'), init_cfg=init_cfg
        )
        self.backbone = MODELS.build(backbone)
        necks = [neck] if isinstance(neck, dict) else neck
        self.neck = ModuleList(MODELS.build(cfg) for cfg in necks)
        self.text_encoder = MODELS.build(text_encoder)
        self.region_encoder = MODELS.build(region_encoder) if region_encoder else None
        if region_encoder and any(getattr(own, 'ignore_padding', False) for own in self.neck):
            raise ValueError(
                'region_encoder: regions are described on canvases of their own, for which a neck '
                'cannot ignore the padding'
            )
        self.head = MODELS.build(head)
        self.localisers = ModuleDict(
            {name: MODELS.build(cfg) for name, cfg in (localisers or {}).items() if cfg}
        )
        self._freeze(frozen, dropout_in_frozen)
        if frozen_dtype not in (None, 'bfloat16', 'float16'):
            raise ValueError(
                f"frozen_dtype must be 'bfloat16', 'float16' or None, got {frozen_dtype!r}"
            )
        self.frozen_dtype = frozen_dtype and getattr(torch, frozen_dtype)
        self.channels_last = channels_last
        if channels_last:
            self.to(memory_format=torch.channels_last)
        self.region_cache = None
        if region_cache is not None:
            self._check_cacheable()
            self.region_cache = RegionFeatureCache(**region_cache)
            # Weights are in the fingerprint, wherever they come from.
            self._cached_settings = dict(
                parts=[_without_init(cfg) for cfg in (backbone, *necks, region_encoder)],
                data_preprocessor=data_preprocessor,
                frozen_dtype=frozen_dtype,
            )
            self.register_load_state_dict_post_hook(_forget_cache)

    @property
    def frozen(self) -> frozenset[str]:
        """Names of the frozen parts."""
        return self._frozen | {f'localisers.{name}' for name in self.localisers}

    @property
    def image_parts(self) -> list[str]:
        """Names of the parts that an image runs through, in order."""
        return ['backbone', *(f'neck.{i}' for i in range(len(self.neck)))]

    def _freeze(self, frozen: Sequence[str], dropout_in_frozen: Sequence[str]) -> None:
        image_parts = self.image_parts
        names = set()
        for name in frozen:
            names |= set(image_parts[1:]) if name == 'neck' else {name}
        others = ['text_encoder', *(['region_encoder'] if self.region_encoder else [])]
        unknown = names - {*image_parts, *others}
        if unknown or not set(dropout_in_frozen) <= names:
            raise ValueError(
                f'frozen={list(frozen)} and dropout_in_frozen={list(dropout_in_frozen)}: parts '
                f'that can be frozen are {[*image_parts, "neck", *others]}, and dropout '
                'stays on in frozen parts only'
            )
        trained_first = [name for name in image_parts if name not in names]
        behind = (
            {*image_parts[image_parts.index(trained_first[0]) :], 'region_encoder'}
            if (trained_first)
            else set()
        )
        if behind & names:
            raise ValueError(
                f"'{trained_first[0]}' is trained, so no image part behind it can be frozen: it "
                f'would get no gradient; frozen={list(frozen)}'
            )
        self._frozen = frozenset(names)
        self._dropout_in_frozen = frozenset(dropout_in_frozen)
        for name in names:
            self.get_submodule(name).requires_grad_(False)

    def _check_cacheable(self) -> None:
        parts = {*self.image_parts, 'region_encoder'}
        if self.region_encoder is None or not parts <= self._frozen - self._dropout_in_frozen:
            raise ValueError(
                f'region_cache keeps what frozen parts without dropout compute: {sorted(parts)} '
                f'must be there and in frozen={sorted(self._frozen)}'
            )

    def train(self, mode: bool = True) -> 'Grounder':
        """Set the mode; frozen parts stay in eval mode unless their dropout is on."""
        super().train(mode)
        for name in self._frozen - self._dropout_in_frozen:
            self.get_submodule(name).eval()
        return self

    @contextmanager
    def _as_frozen(self):
        """How frozen parts run: without gradient and, if told so, in ``frozen_dtype``."""
        autocast = nullcontext()
        if self.frozen_dtype:
            device = next(self.parameters()).device.type
            # Its cache would keep parameters with a gradient only.
            autocast = torch.autocast(device, self.frozen_dtype, cache_enabled=False)
        with torch.no_grad(), autocast:
            yield

    def encode_image(
        self, images: Tensor, data_samples: Sequence[GroundingDataSample] = ()
    ) -> tuple[Tensor, ...]:
        """Backbone and necks.

        Args:
            images: Normalised and padded. Shape (B, 3, H, W).
            data_samples: The samples, for necks that ignore the padding: at least one
                for each image.

        Returns:
            The last neck's maps.
        """
        masks = {}
        if any(getattr(neck, 'ignore_padding', False) for neck in self.neck):
            masks['valid_mask'] = _valid_mask(images, data_samples)

        def run(name: str, feats):
            part = self.get_submodule(name)
            return part(feats, **masks) if getattr(part, 'ignore_padding', False) else part(feats)

        # Frozen parts come first.
        frozen = [name for name in self.image_parts if name in self._frozen]
        trained = self.image_parts[len(frozen) :]
        learning = torch.is_grad_enabled() and bool(trained)
        feats = images
        if self.channels_last or (not images.is_cuda and (frozen or not learning)):
            # The faster order for convolutions on the CPU. It is the slower one for their gradients
            # unless weights have it, too.
            feats = images.contiguous(memory_format=torch.channels_last)
        with self._as_frozen():
            for name in frozen:
                feats = run(name, feats)
            if frozen and self.frozen_dtype:
                feats = tuple(feat.float() for feat in feats)
            if frozen and learning and not self.channels_last:
                feats = tuple(feat.contiguous() for feat in feats)
        for name in trained:
            feats = run(name, feats)
        return feats

    def encode_text(self, data_samples: Sequence[GroundingDataSample]) -> TextFeatures:
        """Encode the samples' texts, one row per sample."""
        texts = [sample.text for sample in data_samples]
        if 'text_encoder' not in self._frozen:
            return self.text_encoder(texts)
        with self._as_frozen():
            text = self.text_encoder(texts)
        if not self.frozen_dtype:
            return text
        sentence = None if text.sentence is None else text.sentence.float()
        return replace(text, pieces=text.pieces.float(), sentence=sentence)

    def describe_regions(
        self,
        feats: tuple[Tensor, ...],
        boxes: Tensor,
        image_index: Tensor,
        fixed: bool = False,
        canvases: Tensor | None = None,
    ) -> Tensor:
        """Features of boxes.

        Args:
            feats: What :meth:`encode_image` returned, of which the last map is read.
            boxes: xyxy in pixels of the canvas. Shape (n, 4).
            image_index: The image of each. Shape (n, ).
            fixed: Whether an image comes with the same boxes each time. It makes no difference
                here, but to :class:`CachedRegions`, which stands in for this function.
            canvases: (height, width) of the canvas that each image has by itself. Shape (B, 2).
                None: the maps are of such canvases.

        Returns:
            Shape (n, D).
        """
        if 'region_encoder' not in self._frozen:
            return self.region_encoder(feats[-1], boxes, image_index, canvases)
        with self._as_frozen():
            described = self.region_encoder(feats[-1], boxes, image_index, canvases)
        return described.float() if self.frozen_dtype else described

    def cached_regions(
        self, inputs: Tensor, data_samples: Sequence[GroundingDataSample]
    ) -> CachedRegions:
        """What describes boxes in place of :meth:`describe_regions`, with ``region_cache``.

        Args:
            inputs: The unique images of the batch. Shape (B, 3, H, W).
            data_samples: The samples: at least one for each image.
        """
        if not self.region_cache.is_open:
            device = inputs.device.type
            autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
            parts = ModuleList(
                self.get_submodule(name) for name in (*self.image_parts, 'region_encoder')
            )
            settings = self._cached_settings | dict(autocast=str(autocast))
            self.region_cache.open(fingerprint(parts, settings))
        return CachedRegions(self.region_cache, self, inputs, data_samples)

    def _own_canvases(self, inputs: Tensor, data_samples: Sequence[GroundingDataSample]) -> Tensor:
        """(height, width) of the canvas that each image has by itself. Shape (B, 2)."""
        divisor = self.data_preprocessor.pad_size_divisor
        geometries = image_geometries(len(inputs), data_samples)
        return torch.tensor([own.own_canvas(divisor) for own in geometries], device=inputs.device)

    @torch.no_grad()
    def localise(
        self, inputs: Tensor, data_samples: Sequence[GroundingDataSample]
    ) -> dict[str, BoxProposals | MaskProposals]:
        """What the localisers propose.

        Args:
            inputs: The unique images of the batch, as the data preprocessor gives them. Shape
                (B, 3, H, W).
            data_samples: The samples: at least one for each image.

        Returns:
            By the localiser's name.
        """
        if not self.localisers:
            return {}
        canvas = self.data_preprocessor.raw_canvas(inputs)
        geometries = image_geometries(len(inputs), data_samples)
        return {name: part(canvas, geometries) for name, part in self.localisers.items()}

    def forward(
        self,
        inputs: Tensor,
        data_samples: Sequence[GroundingDataSample],
        mode: str = 'tensor',
    ):
        """Entry point of the runner.

        Args:
            inputs: The unique images of the batch. Shape (B, 3, H, W).
            data_samples: T samples with ``image_index``.
            mode: ``'loss'`` for a dict of losses, ``'predict'`` for the samples with
                ``pred_phrases``, ``'tensor'`` for the head's raw outputs.
        """
        feats, extra = (), []
        if self.region_encoder is None:
            feats = self.encode_image(inputs, data_samples)
        elif mode != 'loss':
            extra = [SeparateRegions(self, inputs, data_samples)]
        elif self.region_cache is not None:
            extra = [self.cached_regions(inputs, data_samples)]
        else:
            feats = self.encode_image(inputs, data_samples)
            canvases = self._own_canvases(inputs, data_samples)
            extra = [partial(self.describe_regions, feats, canvases=canvases)]
        text = self.encode_text(data_samples)
        if mode == 'loss':
            return self.head.loss(feats, text, data_samples, *extra)
        if mode == 'predict':
            proposals = self.localise(inputs, data_samples)
            predictions = self.head.predict(
                feats, text, data_samples, *extra, *([proposals] if proposals else [])
            )
            for sample, prediction in zip(data_samples, predictions, strict=True):
                sample.pred_phrases = prediction
            return data_samples
        if mode == 'tensor':
            return self.head.tensor(feats, text, data_samples, *extra)
        raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', got '{mode}'")


def _valid_mask(images: Tensor, data_samples: Sequence[GroundingDataSample]) -> Tensor:
    """Where the canvas of each image is no padding. Shape (B, H, W), boolean."""
    shape = tuple(images.shape[-2:])
    masks = [own.valid_cells(shape) for own in image_geometries(len(images), data_samples)]
    return torch.stack(masks).to(images.device)


def _without_init(cfg: dict) -> dict:
    """A part's settings but for where its weights come from."""
    return {key: value for key, value in cfg.items() if key != 'init_cfg'}


def _forget_cache(model: Grounder, incompatible_keys) -> None:
    """Other weights describe regions in other ways."""
    model.region_cache.close()
