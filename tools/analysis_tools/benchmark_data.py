"""Measure how fast panoptic narrative grounding data are read, at the size of COCO's.

Annotation files as large as the real ones are generated in a temporary folder, with a few
pictures that all of their images share, so nothing needs to be downloaded. Printed are the time
and the memory of loading the annotations, the time of each transform, and the samples per second
of a data loader. Example::

    python tools/analysis_tools/benchmark_data.py --workers 1 2
"""

import argparse
import json
import os
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice, product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, pseudo_collate
from PIL import Image
from torch.utils.data import DataLoader

from mmground.datasets import PNGDataset
from mmground.structures import encode_segment_ids
from mmground.utils import register_all_modules
from mmground.utils.cli import check_file

_CONFIG = 'configs/ppmn/ppmn_r101-fpn_4xb12-14e_png.py'
# The real data: 134,272 narratives of the train split about 118,287 images. A narrative has 37
# words and 11 noun phrases on average, 5 of them with segments; the utterances of one in a
# hundred do not add up to its caption. An image has 11 segments.
_NARRATIVES, _IMAGES = 134_272, 118_287
_PHRASES = (4, 18)  # fewest and most
_GROUNDED = 0.41  # beside the first grounded phrase
_PLURAL = 0.1
_DIFFERENT = 0.01
_SEGMENTS = 11
_SIZE = (480, 640)
_FOLDERS = dict(
    img_path='images/train2017', seg_map_path='annotations/panoptic_segmentation/train2017'
)
_NOUN_PHRASES = [
    ' '.join(words).replace('  ', ' ')
    for words in product(
        ('a', 'the', 'some', 'one'),
        ('', '', '', '', 'white', 'black', 'large', 'wooden'),
        (
            *('man', 'woman', 'person', 'boy', 'dog', 'horse', 'elephant', 'bird', 'car', 'bus'),
            *('motorcycle', 'boat', 'umbrella', 'chair', 'table', 'plate', 'bottle', 'laptop'),
            *('banana', 'surfboard', 'tree', 'grass', 'wall', 'sky', 'building', 'mountain'),
            *('background', 'water', 'road', 'pavement', 'curtain', 'window', 'floor', 'fence'),
        ),
    )
]
_JOINTS = (',', ',', ',', ',', ',', 'and', 'beside', 'on')


def main(argv: Sequence[str] | None = None) -> dict:
    """Generate, measure, print.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Returns:
        ``load``: see :func:`measure_load`; ``transforms``: milliseconds of CPU time per
        sample by the transform's name; ``samples_per_second`` by number of workers.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('--config', default=_CONFIG, help='whose train pipeline is run')
    for name, default, what in (
        ('--narratives', _NARRATIVES, 'in the annotations'),
        ('--images', _IMAGES, 'in the annotations'),
        ('--pictures', 32, 'files that the images share'),
        ('--batch-size', 12, 'of the loader'),
        ('--batches', 20, 'timed per run'),
    ):
        parser.add_argument(
            name, type=partial(_at_least, 1), default=default, help=f'{what} (%(default)s)'
        )
    parser.add_argument(
        '--workers',
        type=partial(_at_least, 0),
        nargs='*',
        default=[1, 2],
        help='of the loader, each in turn (1 2)',
    )
    args = parser.parse_args(argv)
    check_file(parser, args.config, 'config file')
    needed = (args.batches + 1) * args.batch_size
    if args.narratives < needed:
        parser.error(
            f'{args.narratives} narratives are too few for {args.batches} batches of '
            f'{args.batch_size} and one before them: give --narratives {needed} or smaller batches'
        )
    pipeline = Config.fromfile(args.config).train_dataloader.dataset.pipeline
    with TemporaryDirectory() as folder:
        arguments = write_data(Path(folder), args.narratives, args.images, args.pictures)
        size = sum(path.stat().st_size for path in Path(folder, 'annotations').glob('*.json'))
        print(
            f'{args.narratives} narratives about {args.images} images, {size / 1e6:.0f} MB of JSON'
        )
        # In a process of its own, whose peak is that of the loading.
        with get_context('spawn').Pool(1) as pool:
            load = pool.apply(measure_load, (arguments,))
        print(
            f'load annotations: {load["samples"]} samples in {load["seconds"]:.1f} s '
            f'({load["cpu_seconds"]:.1f} s of CPU), peak memory {load["peak_mb"]:.0f} MB, of which '
            f'{load["before_mb"]:.0f} MB before loading'
        )
        register_all_modules()
        cv2.setNumThreads(0)  # as MMEngine's runner does
        dataset = PNGDataset(**arguments, pipeline=pipeline)
        transforms = measure_transforms(dataset, args.batches * args.batch_size)
        for name, milliseconds in transforms.items():
            print(f'{name}: {milliseconds:.2f} ms of CPU per sample')
        speeds = {}
        for workers in args.workers:
            speeds[workers] = measure_loader(dataset, workers, args.batch_size, args.batches)
            print(f'{workers} workers: {speeds[workers]:.1f} samples/s')
    return dict(load=load, transforms=transforms, samples_per_second=speeds)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f'must be an integer of at least {least}, got {text}')
    return int(text)


def write_data(root: Path, narratives: int, images: int, pictures: int) -> dict:
    """Write a train split of generated annotations.

    Args:
        root: An empty folder.
        narratives: Number of narratives. Each has a phrase with a segment.
        images: Images in the annotations.
        pictures: Files that these images share.

    Returns:
        Arguments of :class:`PNGDataset`.
    """
    for folder in _FOLDERS.values():
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    segments = [_write_picture(root, i, rng) for i in range(min(pictures, images))]
    height, width = _SIZE
    image_entries = (
        dict(
            license=3,
            file_name=f'{i % len(segments):012d}.jpg',
            coco_url=f'http://localhost/images/train2017/{i:012d}.jpg',
            height=height,
            width=width,
            date_captured='2013-11-14 11:18:45',
            flickr_url=f'http://localhost/photos/{i:010d}_{i:010x}_z.jpg',
            id=i,
        )
        for i in range(images)
    )
    annotations = (
        dict(
            segments_info=segments[i % len(segments)],
            file_name=f'{i % len(segments):012d}.png',
            image_id=i,
        )
        for i in range(images)
    )
    categories = (dict(id=i, name=f'kind {i}', isthing=i % 2) for i in range(1, 134))
    folder = root / 'annotations'
    with (folder / 'panoptic_train2017.json').open('w') as file:
        file.write('{"info": {}, "images": ')
        _write_list(file, image_entries)
        file.write(', "annotations": ')
        _write_list(file, annotations)
        file.write(', "categories": ')
        _write_list(file, categories)
        file.write('}')
    draw = random.Random(0)
    with (folder / 'png_coco_train2017.json').open('w') as file:
        described = (i % images for i in range(narratives))
        _write_list(file, (_narrative(i, segments[i % len(segments)], draw) for i in described))
    return dict(
        data_root=str(root),
        ann_file='annotations/png_coco_train2017.json',
        panoptic_ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(_FOLDERS),
    )


def _write_list(file, entries: Iterator[dict]) -> None:
    """A JSON list, entry by entry: the memory of this process counts in those it starts."""
    file.write('[')
    for i, entry in enumerate(entries):
        file.write((', ' if i else '') + json.dumps(entry))
    file.write(']')


def _write_picture(root: Path, index: int, rng: np.random.Generator) -> list[dict]:
    """Write a picture and its panoptic PNG; returns ``segments_info``."""
    height, width = _SIZE
    # Smooth noise compresses to about the size of a photo.
    noise = rng.integers(0, 256, (height // 5, width // 5, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    picture.save(root / _FOLDERS['img_path'] / f'{index:012d}.jpg', quality=90)
    # Each segment is where its own smooth noise is the largest.
    heights = rng.random((_SEGMENTS, height // 60, width // 60), dtype=np.float32)
    heights = [
        cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) for noise in heights
    ]
    numbers = np.argmax(heights, axis=0)
    ids = rng.choice(2**24 - 1, _SEGMENTS, replace=False) + 1
    Image.fromarray(encode_segment_ids(ids[numbers])).save(
        root / _FOLDERS['seg_map_path'] / f'{index:012d}.png'
    )
    segments = []
    for number in np.unique(numbers):
        x, y, w, h = cv2.boundingRect((numbers == number).astype(np.uint8))
        segments.append(
            dict(
                id=int(ids[number]),
                category_id=int(rng.integers(1, 134)),
                iscrowd=0,
                bbox=[x, y, w, h],
                area=int((numbers == number).sum()),
            )
        )
    return segments


def _narrative(image: int, segments: list[dict], draw: random.Random) -> dict:
    """Noun phrases, and before each what joins it to the others."""
    count = draw.randint(*_PHRASES)
    joints = ['in this image we can see', *draw.choices(_JOINTS, k=count - 1)]
    phrases = draw.choices(_NOUN_PHRASES, k=count)
    certain = draw.randrange(count)
    parts = []
    for i, (joint, phrase) in enumerate(zip(joints, phrases, strict=True)):
        named = []
        if i == certain or draw.random() < _GROUNDED:
            named = draw.sample(segments, 2 if draw.random() < _PLURAL else 1)
        parts += (
            dict(utterance=joint, segment_ids=[], plural=False, noun=False),
            dict(
                utterance=phrase,
                segment_ids=[str(segment['id']) for segment in named],
                plural=len(named) > 1,
                noun=True,
            ),
        )
    parts.append(dict(utterance='.', segment_ids=[], plural=False, noun=False))
    caption = ' '.join(part['utterance'] for part in parts).replace(' ,', ',').replace(' .', '.')
    if draw.random() < _DIFFERENT:
        parts[2 * draw.randrange(count)]['utterance'] += ' here'
    return dict(
        annotator_id=draw.randrange(100),
        image_id=str(image),
        caption=caption.capitalize(),
        segments=parts,
    )


def measure_load(arguments: dict) -> dict[str, float]:
    """Load the annotations once.

    Args:
        arguments: Of :class:`PNGDataset`.

    Returns:
        ``seconds`` and ``cpu_seconds`` that it took; ``peak_mb``, the largest memory of this
        process, and ``before_mb``, the largest before it loaded; ``samples`` that were read.
    """
    before, start, cpu_start = _peak_mb(), time.perf_counter(), time.process_time()
    dataset = PNGDataset(**arguments)
    return dict(
        seconds=time.perf_counter() - start,
        cpu_seconds=time.process_time() - cpu_start,
        peak_mb=_peak_mb(),
        before_mb=before,
        samples=len(dataset),
    )


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == 'darwin' else 1e3)


def measure_transforms(dataset: PNGDataset, samples: int) -> dict[str, float]:
    """Milliseconds of CPU time that each transform of the pipeline takes per sample.

    Args:
        dataset: The data set.
        samples: How many of its first samples are timed.

    Returns:
        Times by the name of the transform's class, in the order of the pipeline.
    """
    times = {}
    for index in range(samples):
        results = dataset.get_data_info(index)
        for transform in dataset.pipeline.transforms:
            name = type(transform).__name__
            start = time.process_time()
            results = transform(results)
            times[name] = times.get(name, 0.0) + time.process_time() - start
    return {name: seconds / samples * 1e3 for name, seconds in times.items()}


def measure_loader(dataset: PNGDataset, workers: int, batch_size: int, batches: int) -> float:
    """Samples per second of a data loader, from its second batch on.

    Args:
        dataset: The data set, with ``batches + 1`` batches at least.
        workers: Processes of the loader; 0 loads in this one.
        batch_size: Samples of a batch.
        batches: How many are timed.
    """
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=pseudo_collate,
        sampler=DefaultSampler(dataset, shuffle=True, seed=0),
    )
    iterator = iter(loader)
    next(iterator)
    start = time.perf_counter()
    count = sum(len(batch['inputs']) for batch in islice(iterator, batches))
    return count / (time.perf_counter() - start)


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    main()
