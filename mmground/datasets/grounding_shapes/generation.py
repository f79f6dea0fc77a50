"""Making a whole data set: images, the files of each format, vocabulary, description."""

import filecmp
import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from mmengine.utils import track_progress_rich
from PIL import Image

from .base_format import BaseFormat, ShapesImage
from .categories import DESCRIPTION
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
) -> tuple[dict, list[str]]:
    """Generate Grounding Shapes into a folder, or add formats to those that it holds.

    Everything is written to ``<root>.partial``. A new data set is moved into place when complete,
    so a folder is never a mixture of two. Where the folder holds the same pictures with other
    formats, files that it lacks are moved into it, the description last: a format that it names
    is complete. What is in the folder is not written again.

    Args:
        root: Folder of the data set.
        formats: Keys of :data:`FORMATS`.
        counts: Split -> number of images, at least one each, for each of
            :func:`image_splits` of the formats.
        size: Side of the square pictures in pixels.
        seed: The same seed gives the same files, whatever the number of workers, and whether
            formats are made together or one after the other.
        workers: Processes.
        overwrite: Replace another Grounding Shapes data set at ``root``, with all that is in the
            folder, and what an interrupted run left.

    Returns:
        The content of ``shapes.json`` (generator, arguments, a summary of each format and
        split, and the settings of the formats that have some), and the formats that were made,
        companions included: none, if all are there.

    Raises:
        ValueError: If an argument is out of range.
        FileExistsError: If something else is at ``root``.
    """
    _check_arguments(formats, counts, size, seed, workers)
    root = Path(root).resolve()
    existing = _read_description(root)
    if overwrite:
        existing = None
    arguments = dict(formats=sorted(set(formats)), counts=counts, size=size, seed=seed)
    names = _with_companions(formats)
    if existing is not None:
        _check_same_pictures(root, existing, arguments)
        theirs = existing['arguments']
        names = sorted(set(names) - set(_with_companions(theirs['formats'])))
        if not names:
            return existing, []
        both = theirs['counts'] | counts
        arguments.update(
            formats=sorted({*theirs['formats'], *formats}),
            counts={split: both[split] for split in SPLIT_CODES if split in both},
        )
    partial_root = root.with_name(f'{root.name}.partial')
    if partial_root.exists():
        if not overwrite:
            remedy = 'or pass --overwrite' if existing is None else f'and leave {root} as it is'
            raise FileExistsError(
                f'{partial_root} is there: another run is writing it, or one was interrupted. '
                f'If none is running, remove it {remedy}.'
            )
        shutil.rmtree(partial_root)
    partial_root.mkdir(parents=True)
    try:
        own_counts = {split: counts[split] for split in counts if split in image_splits(names)}
        written = _write(partial_root, names, own_counts, size, seed, workers)
        description = dict(
            generator=DESCRIPTION, version=GENERATOR_VERSION, arguments=arguments
        ) | _merge(existing or {}, written)
        (partial_root / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + '\n')
        if existing is not None:
            _add_files(partial_root, root)
        else:
            if root.exists():
                # Without leave to overwrite only an empty folder can be here.
                shutil.rmtree(root) if overwrite else root.rmdir()
            partial_root.rename(root)
    except BaseException:
        shutil.rmtree(partial_root, ignore_errors=True)
        raise
    return description, names


def _with_companions(formats: Iterable[str]) -> list[str]:
    """Formats and those that are written along with them."""
    return sorted({*formats, *(other for name in formats for other in FORMATS[name].companions)})


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


def _read_description(root: Path) -> dict | None:
    """The description of the data set at ``root``, None if nothing is there."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        description = json.loads((root / DESCRIPTION_FILE).read_text())
        arguments = description['arguments']
        if (
            description['generator'] == DESCRIPTION
            and {'version', 'summary'} <= description.keys()
            and {'formats', 'counts', 'size', 'seed'} <= arguments.keys()
        ):
            return description
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise FileExistsError(
        f'{root} exists and is not a complete Grounding Shapes data set (it has no readable '
        f'{DESCRIPTION_FILE}); it is left alone. Give another folder or remove it.'
    )


def _check_same_pictures(root: Path, existing: dict, arguments: dict) -> None:
    """Formats can be added only to the pictures that they would have by themselves."""
    theirs = existing['arguments']
    pairs = [('generator version', existing['version'], GENERATOR_VERSION)]
    pairs += [
        (f'number of {split} images', theirs['counts'][split], count)
        for split, count in arguments['counts'].items()
        if split in theirs['counts']
    ]
    pairs += [(key, theirs[key], arguments[key]) for key in ('size', 'seed')]
    differences = [f'{what} {one}, not {other}' for what, one, other in pairs if one != other]
    if differences:
        raise FileExistsError(
            f'{root} holds Grounding Shapes of other pictures: {"; ".join(differences)}. A folder '
            'holds one set of pictures, to which formats can be added. Give another folder: '
            f'--overwrite would delete everything in this one, its formats '
            f'({", ".join(theirs["formats"])}), proposals and all other files included.'
        )


def _merge(existing: dict, written: dict) -> dict:
    """Entries ``summary`` and ``settings`` of all formats, those with any, in order."""
    merged = {}
    for key in ('summary', 'settings'):
        entries = existing.get(key, {}) | written[key]
        if entries:
            merged[key] = dict(sorted(entries.items()))
    return merged


def _add_files(partial_root: Path, root: Path) -> None:
    """Move the files that a data set lacks into its folder, the description last.

    Raises:
        FileExistsError: If a file is there with other content; then nothing is moved.
    """
    files = [path.relative_to(partial_root) for path in partial_root.rglob('*') if path.is_file()]
    files = sorted(path for path in files if path != Path(DESCRIPTION_FILE))
    there = [path for path in files if os.path.lexists(root / path)]
    changed = [
        path
        for path in there
        if not (root / path).is_file()
        or not filecmp.cmp(partial_root / path, root / path, shallow=False)
    ]
    if changed:
        raise FileExistsError(
            f'{root} has {len(changed)} files with other content than the same arguments give '
            f'now, such as {changed[0]}: they were changed, or made with other versions of numpy, '
            'Pillow or OpenCV. Nothing was added. Restore them or give another folder.'
        )
    for path in sorted(set(files) - set(there)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (partial_root / path).replace(root / path)
    (partial_root / DESCRIPTION_FILE).replace(root / DESCRIPTION_FILE)
    shutil.rmtree(partial_root)


def _write(
    root: Path, names: list[str], counts: dict[str, int], size: int, seed: int, workers: int
) -> dict:
    """Write all files but the description; returns its entries ``summary`` and ``settings``."""
    formats = {name: FORMATS[name]() for name in names}
    records: dict[str, dict[str, list[dict]]] = {name: {} for name in names}
    digests: Counter[str] = Counter()
    for split, count in counts.items():
        (root / 'images' / f'{split}2017').mkdir(parents=True)
        here = {name: fmt for name, fmt in formats.items() if split in fmt.splits}
        for fmt in here.values():
            fmt.prepare(split, root)
        make = partial(
            _make_batch,
            root=root,
            split=split,
            formats=here,
            size=size,
            seed=seed,
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
    return dict(summary=summary, settings=settings)


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
