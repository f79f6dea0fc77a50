"""Published files to checkpoints of this project."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmground.registry import MODELS
from mmground.utils.checkpoint import file_sha256, read_checkpoint, read_pickled
from mmground.utils.numpy_pickle import read_numpy_pickle
from mmground.version import __version__

from .bert import convert_bert
from .clip import CLIP_RELEASES, convert_clip, read_clip
from .detectors import convert_fcos, convert_solo
from .detectron2_fpn import convert_detectron2_fpn
from .drmn import convert_drmn
from .pbrec import convert_detr_backbone, convert_pbrec
from .ppmn import convert_ppmn
from .reir import convert_bottom_up, convert_reir


@dataclass(frozen=True)
class PublishedWeights:
    """A kind of published file and what becomes of it.

    Args:
        description: What the file is.
        parts: Prefixes of the weights that it gives a :class:`Grounder`.
        config: The config, below ``configs``, of the model that the weights fit, or of its parts.
        read: Reads the file: path and whether it is trusted, to what ``convert``
            takes.
        convert: The key mapping: what was read, to the weights under this project's
            names and the names of those without use.
        has_vocabulary: Whether the text encoder, if there is one, has its vocabulary without a
            file.
        unpublished: Prefixes of weights of these parts that published files do not have. They
            are all there, or none.
        releases: What is known of files, by their SHA-256.
        phrase_vocabulary: Whether a decoder of phrases, with a vocabulary of its own, is among the
            parts.
    """

    description: str
    parts: tuple[str, ...]
    config: str
    read: Callable[[str, bool], Mapping]
    convert: Callable[[Mapping], tuple[dict[str, Tensor], list[str]]]
    has_vocabulary: bool = False
    unpublished: tuple[str, ...] = ()
    releases: Mapping[str, str] = field(default_factory=dict)
    phrase_vocabulary: bool = False

    @property
    def needs_vocabulary(self) -> bool:
        """Whether there is a text encoder among the parts that reads a file."""
        has_text = any('text_encoder.'.startswith(part) for part in self.parts)
        return has_text and not self.has_vocabulary


def convert_checkpoint(
    system: str,
    source: str,
    model: Mapping,
    vocab_file: str | None = None,
    trust_checkpoint: bool = False,
    phrase_vocab_file: str | None = None,
) -> dict:
    """Convert a published file; every name and shape must be that of the model.

    Args:
        system: Key of :data:`PUBLISHED`.
        source: The published file.
        model: Config of the model that the weights are for.
        vocab_file: Vocabulary of the text encoder, where one is converted: WordPiece of a BERT,
            words of ReIR. The checkpoint then carries it.
        trust_checkpoint: Load any Python object from the file, which can run any code.
        phrase_vocab_file: Words that the decoder tells, where one is converted; carried likewise.

    Returns:
        A checkpoint: ``state_dict``, and in ``meta`` the ``system``, the ``source`` with
        its ``sha256``, ``dropped`` (the number of weights without use, by group),
        ``num_dropped`` and ``mmground_version``.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the file is damaged or of another system, lists every name that
            is missing, unknown or of another shape; or if the vocabulary is missing, or
            not the one of the weights.
    """
    published = PUBLISHED[system]
    if published.needs_vocabulary and vocab_file is None:
        raise ValueError(
            f'{source} holds a text encoder, but no vocabulary: give the vocab.txt of its BERT, or '
            'the list of words of its encoder'
        )
    if published.phrase_vocabulary and phrase_vocab_file is None:
        raise ValueError(
            f'{source} holds a decoder of phrases, but no vocabulary of it: give its list of words'
        )
    for file in (vocab_file, phrase_vocab_file):
        if file is not None and not Path(file).is_file():
            raise FileNotFoundError(f'vocabulary {file} does not exist')
    loaded = published.read(source, trust_checkpoint)
    try:
        weights, dropped = published.convert(loaded)
    except ValueError as error:
        raise ValueError(f'{source} is not {published.description}: {error}') from error
    expected = _expected_model(
        model,
        vocab_file if published.needs_vocabulary else None,
        phrase_vocab_file if published.phrase_vocabulary else None,
        len(weights['head.relation.2.bias']) if 'head.relation.2.bias' in weights else None,
    )
    if published.phrase_vocabulary:
        for part in ('text_encoder', 'head.decoder'):
            name = f'{part}.vocabulary.vocab'
            weights[name] = expected.get_buffer(name)
    elif published.needs_vocabulary:
        weights['text_encoder.vocab'] = _vocabulary(expected.text_encoder, vocab_file)
    _check_layout(weights, expected, published, source)
    groups = Counter(_group(name) for name in dropped)
    meta = dict(
        system=system,
        source=Path(source).name,
        sha256=file_sha256(source),
        dropped=dict(sorted(groups.items())),
        num_dropped=len(dropped),
        mmground_version=__version__,
    )
    return dict(state_dict=weights, meta=meta)


def merge_checkpoints(sources: Sequence[str], trust_checkpoint: bool = False) -> dict:
    """Put checkpoints of different parts together, such as an image and a text encoder's.

    Args:
        sources: Files of this project's layout.
        trust_checkpoint: Load any Python object from them, which can run any code.

    Returns:
        A checkpoint with all their weights; ``meta`` has the origin of each in
        ``merged``.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file cannot be read, or two have the same weights.
    """
    return merge_parts((source, read_checkpoint(source, trust_checkpoint)) for source in sources)


def merge_parts(parts: Iterable[tuple[str, dict]]) -> dict:
    """Put checkpoints together that have been read, or converted, already.

    Args:
        parts: Pairs of a file's name and its checkpoint, with ``state_dict``.

    Returns:
        As :func:`merge_checkpoints`.

    Raises:
        ValueError: If two have the same weights.
    """
    weights: dict[str, Tensor] = {}
    merged = []
    for source, checkpoint in parts:
        twice = weights.keys() & checkpoint['state_dict'].keys()
        if twice:
            raise ValueError(
                f'{source} has weights that another file has too: {", ".join(sorted(twice))}'
            )
        weights.update(checkpoint['state_dict'])
        meta = checkpoint.get('meta') or {}
        origin = {key: meta[key] for key in ('system', 'source', 'sha256') if key in meta}
        merged.append(dict(file=Path(source).name, **origin))
    return dict(state_dict=weights, meta=dict(merged=merged, mmground_version=__version__))


def save_converted(checkpoint: dict, path: str) -> None:
    """Write a checkpoint; an interruption leaves no half file.

    Args:
        checkpoint: With ``state_dict`` and ``meta``.
        path: The file, replaced if it exists. Its folder is made if there is none.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f'{target.name}.{os.getpid()}.partial')
    try:
        torch.save(checkpoint, partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _read_dict(path: str, trust_checkpoint: bool) -> Mapping:
    loaded = read_pickled(path, trust_checkpoint)
    if not isinstance(loaded, Mapping):
        raise ValueError(f'{path} is no published checkpoint of this kind: it holds no dict')
    return loaded


def _read_detectron2(path: str, trust_checkpoint: bool) -> Mapping[str, Tensor]:
    loaded = read_numpy_pickle(path, trust_checkpoint)
    arrays = loaded.get('model') if isinstance(loaded, dict) else None
    if not isinstance(arrays, dict) or not all(map(_is_numeric, arrays.values())):
        raise ValueError(
            f'{path} is no checkpoint of Detectron2: expected a dict with "model", a dict of arrays'
        )
    # PyTorch has no tensors of foreign byte order.
    return {
        name: torch.from_numpy(np.array(value, value.dtype.newbyteorder('='), order='C'))
        for name, value in arrays.items()
    }


def _is_numeric(value) -> bool:
    return isinstance(value, np.ndarray | np.generic) and value.dtype.kind in 'biuf'


def _read_bert(path: str, trust_checkpoint: bool) -> Mapping[str, Tensor]:
    if not path.endswith('.safetensors'):
        return read_checkpoint(path, trust_checkpoint)['state_dict']
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f'checkpoint {path} cannot be read, it is damaged or no safetensors file: {error}'
        ) from error


def _convert_text_encoder(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    weights, dropped = convert_bert(state_dict)
    return {f'text_encoder.{name}': value for name, value in weights.items()}, dropped


_PPMN_CONFIG = 'ppmn/ppmn_r101-fpn_4xb12-14e_png.py'
_REIR_CONFIG = 'reir/reir_r101_4xb10-80k_flickr30k.py'
_PBREC_CONFIG = 'pbrec/pbrec-mt_r101_4xb32-15e_refcoco.py'

PUBLISHED: dict[str, PublishedWeights] = {
    'ppmn': PublishedWeights(
        'an official PPMN checkpoint', ('',), _PPMN_CONFIG, _read_dict, convert_ppmn
    ),
    'drmn': PublishedWeights(
        'an official DRMN checkpoint',
        ('',),
        'drmn/drmn-official_r101-fpn_1xb10-20e_png.py',
        _read_dict,
        convert_drmn,
    ),
    'pbrec': PublishedWeights(
        'an official PBREC checkpoint',
        ('backbone.', 'text_encoder.', 'head.'),
        _PBREC_CONFIG,
        _read_dict,
        convert_pbrec,
    ),
    'detr-backbone': PublishedWeights(
        'a DETR, of which the backbone is used',
        ('backbone.',),
        _PBREC_CONFIG,
        _read_dict,
        convert_detr_backbone,
    ),
    'fcos': PublishedWeights(
        'an FCOS of its official repository or of mmdet',
        ('localisers.box.',),
        _PBREC_CONFIG,
        _read_dict,
        convert_fcos,
    ),
    'solo': PublishedWeights(
        'a SOLO of its official repository or of mmdet',
        ('localisers.mask.',),
        _PBREC_CONFIG,
        _read_dict,
        convert_solo,
    ),
    'detectron2-panoptic-fpn': PublishedWeights(
        "Detectron2's panoptic FPN",
        ('backbone.', 'neck.0.'),
        _PPMN_CONFIG,
        _read_detectron2,
        convert_detectron2_fpn,
    ),
    'reir': PublishedWeights(
        'an official ReIR checkpoint',
        ('',),
        _REIR_CONFIG,
        _read_dict,
        convert_reir,
        phrase_vocabulary=True,
    ),
    'bottom-up': PublishedWeights(
        'a bottom-up-attention detector (R101), of which the backbone is used',
        ('backbone.', 'region_encoder.'),
        _REIR_CONFIG,
        _read_dict,
        convert_bottom_up,
    ),
    'bert': PublishedWeights(
        'a BERT', ('text_encoder.',), _PPMN_CONFIG, _read_bert, _convert_text_encoder
    ),
    'clip': PublishedWeights(
        'a CLIP with a ResNet',
        ('backbone.', 'text_encoder.'),
        '_base_/models/clip_r101.py',
        read_clip,
        convert_clip,
        has_vocabulary=True,
        unpublished=('backbone.attnpool.connect.',),
        releases=CLIP_RELEASES,
    ),
}


def _expected_model(
    cfg: Mapping,
    vocab_file: str | None,
    phrase_vocab_file: str | None,
    num_relations: int | None,
) -> nn.Module:
    """The model, or parts without one, without memory for its weights: names and shapes."""
    text_encoder = dict(cfg['text_encoder'])
    if vocab_file is not None or 'vocab_file' in text_encoder:
        text_encoder['vocab_file'] = vocab_file
    cfg = dict(cfg, text_encoder=text_encoder)
    if phrase_vocab_file is not None:
        decoder = dict(cfg['head'].get('decoder') or {}, vocab_file=phrase_vocab_file)
        cfg['head'] = dict(cfg['head'], decoder=decoder)
    if num_relations is not None:
        cfg['head'] = dict(cfg['head'], num_relations=num_relations)
    with DefaultScope.overwrite_default_scope('mmground'), torch.device('meta'):
        if 'type' in cfg:
            return MODELS.build(cfg)
        return nn.ModuleDict({name: MODELS.build(part) for name, part in cfg.items()})


def _vocabulary(text_encoder: nn.Module, vocab_file: str) -> Tensor:
    """What the encoder made of the vocabulary, if it has a piece for each embedding."""
    pieces = bytes(text_encoder.vocab.tolist()).count(b'\n') + 1
    if pieces != text_encoder.vocab_size:
        raise ValueError(
            f'the vocabulary {vocab_file} has {pieces} pieces but the weights have '
            f'{text_encoder.vocab_size} embeddings: give the vocab.txt that belongs to the weights'
        )
    return text_encoder.vocab


def _check_layout(
    weights: Mapping[str, Tensor], model: nn.Module, published: PublishedWeights, source: str
) -> None:
    left_out = tuple(
        prefix
        for prefix in published.unpublished
        if not any(name.startswith(prefix) for name in weights)
    )
    expected = {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if name.startswith(published.parts) and not name.startswith(left_out)
    }
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    differing = [
        f'{name} {shape} instead of {expected[name]}'
        for name, shape in shapes.items()
        if shape != expected.get(name, shape)
    ]
    problems = [
        f'{len(names)} {what}: {", ".join(names)}'
        for what, names in (
            ('missing', [name for name in expected if name not in shapes]),
            ('not in the model', [name for name in shapes if name not in expected]),
            ('of another shape', differing),
        )
        if names
    ]
    if problems:
        raise ValueError(
            f'{source} does not fit the model of the config (names as in mmground). '
            + '. '.join(problems)
        )


def _group(name: str) -> str:
    """The module that a dropped weight is of: five levels at most, any index as ``*``."""
    levels = [re.sub(r'\d+', '*', level) for level in name.split('.')]
    return '.'.join(levels[:-1][:5] or levels)
