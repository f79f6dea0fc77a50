"""Making a whole data set: images, the files of each format, vocabulary, description."""

import hashlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mmengine.utils import track_progress_rich
from PIL import Image

from .base_format import BaseFormat, ShapesImage
from .coco_format import COCOFormat
from .flickr30k_format import Flickr30kFormat
from .phrases import Describer
from .png_format import PNGFormat
from .refcoco_format import RefCOCOFormat, RefCOCOgFormat, RefCOCOPlusFormat
from .referit_format import ReferItFormat
from .render import render
from .scene import SPLIT_CODES, draw_scene, image_rng
from .vocab import wordpiece_vocabulary

GENERATOR_VERSION = '1.2'
"""Changed whenever the same arguments would give other files."""

FORMATS: dict[str, type[BaseFormat]] = {
    fmt.name: fmt
    for fmt in (
        PNGFormat,
        COCOFormat,
        RefCOCOFormat,
        RefCOCOPlusFormat,
        RefCOCOgFormat,
        Flickr30kFormat,
        ReferItFormat,
    )
}

DESCRIPTION_FILE = 'shapes.json'

MIN_SIZE = 64
"""Smallest image side in pixels at which the smallest thing keeps a recognisable shape."""

_BATCH = 25


def make_shapes_image(seed: int, split: str, index: int, size: int) -> ShapesImage:
    """One image of the data set, reproducible by itself.

    Args:
        seed: Seed of the data set.
        split: ``train``, ``val`` or ``test``.
        index: Number in the split, from 0.
        size: Side of the square picture in pixels.
    """
    scene = draw_scene(image_rng(seed, split, index, 'scene'))
    return ShapesImage(
        seed=seed,
        split=split,
        index=index,
        scene=scene,
        describer=Describer(scene),
        rendering=render(scene, size, image_rng(seed, split, index, 'pixels')),
    )


def image_splits(formats: Sequence[str]) -> list[str]:
    """The splits of images that formats need between them.

    Args:
        formats: Keys of :data:`FORMATS`.
    """
    return [
        split for split in SPLIT_CODES if any(split in FORMATS[name].splits for name in formats)
    ]


def generate(
    root: str | Path,
    formats: Sequence[str],
    counts: dict[str, int],
    size: int = 128,
    seed: int = 0,
    workers: int = 1,
    overwrite: bool = False,
) -> tuple[dict, bool]:
    """Generate Grounding Shapes into a folder.

    Everything is written to ``<root>.partial`` and moved into place when complete, so a
    folder is never half a data set or a mixture of two.

    Args:
        root: Folder of the data set.
        formats: Keys of :data:`FORMATS`.
        counts: Split -> number of images, at least one each, for each of
            :func:`image_splits` of the formats.
        size: Side of the square pictures in pixels.
        seed: The same seed gives the same files, whatever the number of workers.
        workers: Processes.
        overwrite: Replace another Grounding Shapes data set at ``root``, and what an
            interrupted run left.

    Returns:
        The content of ``shapes.json`` (generator, arguments, a summary of each format and
        split, and the settings of the formats that have some), and whether anything was made:
        a complete data set of the same arguments is left as it is.

    Raises:
        ValueError: If an argument is out of range.
        FileExistsError: If something else is at ``root``.
    """
    _check_arguments(formats, counts, size, seed, workers)
    root = Path(root).resolve()
    arguments = dict(formats=sorted(set(formats)), counts=counts, size=size, seed=seed)
    made_by = dict(generator='Grounding Shapes', version=GENERATOR_VERSION, arguments=arguments)
    existing = _check_existing(root, made_by, overwrite)
    if existing is not None:
        return existing, False
    partial_root = root.with_name(f'{root.name}.partial')
    if partial_root.exists():
        if not overwrite:
            raise FileExistsError(
                f'{partial_root} is there: another run is writing it, or one was interrupted. '
                'If none is running, remove it or pass --overwrite.'
            )
        shutil.rmtree(partial_root)
    partial_root.mkdir(parents=True)
    try:
        description = made_by | _write(partial_root, arguments, workers)
        (partial_root / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + '\n')
        if root.exists():
            # Without leave to overwrite only an empty folder can be here.
            shutil.rmtree(root) if overwrite else root.rmdir()
        partial_root.rename(root)
    except BaseException:
        shutil.rmtree(partial_root, ignore_errors=True)
        raise
    return description, True


def _check_arguments(formats, counts, size, seed, workers) -> None:
    unknown = set(formats) - set(FORMATS)
    if unknown or not formats:
        raise ValueError(f'formats must be among {sorted(FORMATS)}, got {list(formats)}')
    splits = image_splits(formats)
    if set(counts) != set(splits) or min(counts.values()) < 1:
        raise ValueError(
            f'the formats {list(formats)} have the splits {splits}, each of at least 1 image; '
            f'got {counts}'
        )
    for name, value, least in (
        ('size', size, MIN_SIZE),
        ('seed', seed, 0),
        ('workers', workers, 1),
    ):
        if value < least:
            raise ValueError(f'{name} must be at least {least}, got {value}')


def _check_existing(root: Path, made_by: dict, overwrite: bool) -> dict | None:
    """What is at ``root``: the same data set (returned), or nothing that is in the way."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        existing = json.loads((root / DESCRIPTION_FILE).read_text())
        theirs = {key: existing[key] for key in made_by}
    except (OSError, ValueError, KeyError, TypeError):
        raise FileExistsError(
            f'{root} exists and is not a complete Grounding Shapes data set (it has no readable '
            f'{DESCRIPTION_FILE}); it is left alone. Give another folder or remove it.'
        ) from None
    if overwrite:
        return None
    if theirs == made_by:
        return existing
    raise FileExistsError(
        f'{root} holds Grounding Shapes version {theirs["version"]} made with '
        f'{theirs["arguments"]}, not version {made_by["version"]} with {made_by["arguments"]}. '
        'Give another folder, or pass --overwrite to replace it.'
    )


def _write(root: Path, arguments: dict, workers: int) -> dict:
    """Write all files but the description; returns its entries ``summary`` and ``settings``."""
    asked = arguments['formats']
    names = sorted({*asked, *(other for name in asked for other in FORMATS[name].companions)})
    formats = {name: FORMATS[name]() for name in names}
    records: dict[str, dict[str, list[dict]]] = {name: {} for name in names}
    digests: Counter[str] = Counter()
    for split, count in arguments['counts'].items():
        (root / 'images' / f'{split}2017').mkdir(parents=True)
        here = {name: fmt for name, fmt in formats.items() if split in fmt.splits}
        for fmt in here.values():
            fmt.prepare(split, root)
        make = partial(
            _make_batch,
            root=root,
            split=split,
            formats=here,
            size=arguments['size'],
            seed=arguments['seed'],
        )
        tasks = [(start, min(start + _BATCH, count)) for start in range(0, count, _BATCH)]
        batches = track_progress_rich(
            make,
            tasks,
            nproc=workers,
            description=f'{split}: {count} images, batches of {_BATCH}',
        )
        results = [result for batch in batches for result in batch]
        digests.update(result['digest'] for result in results)
        for name in here:
            records[name][split] = [result[name] for result in results]
    repeated = sum(number - 1 for number in digests.values())
    if repeated:
        raise RuntimeError(f'{repeated} images are not unique over the splits')
    for name, fmt in formats.items():
        fmt.write(records[name], root)
    (root / 'vocab.txt').write_text('\n'.join(wordpiece_vocabulary()) + '\n')
    summary = {
        name: {split: fmt.summarize(own) for split, own in records[name].items()}
        for name, fmt in formats.items()
    }
    settings = {name: fmt.settings for name, fmt in formats.items() if fmt.settings}
    return dict(summary=summary) | (dict(settings=settings) if settings else {})


def _make_batch(
    start: int,
    stop: int,
    root: Path,
    split: str,
    formats: dict[str, BaseFormat],
    size: int,
    seed: int,
) -> list[dict]:
    """Make some images of a split: the digest of each JPEG and each format's record."""
    results = []
    for index in range(start, stop):
        image = make_shapes_image(seed, split, index, size)
        buffer = io.BytesIO()
        # Full chroma resolution: colours must not bleed over the edges of the masks.
        Image.fromarray(image.rendering.image).save(buffer, 'JPEG', quality=95, subsampling=0)
        path = root / 'images' / f'{split}2017' / f'{image.image_id:012d}.jpg'
        path.write_bytes(buffer.getvalue())
        result = dict(digest=hashlib.sha1(buffer.getvalue()).hexdigest())
        for name, fmt in formats.items():
            result[name] = fmt.write_image(image, root)
        results.append(result)
    return results
