"""Measure how fast panoptic narrative grounding data are read, at the size of COCO's.

Annotation files as large as the real ones are generated in a temporary folder, with a few
pictures that all of their images share, so nothing needs to be downloaded. Printed are the time
and the memory of loading the annotations, and the samples per second of a data loader.
Example::

    python tools/analysis_tools/benchmark_data.py --workers 1 2
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, pseudo_collate
from PIL import Image
from torch.utils.data import DataLoader

from mmground.datasets import PNGDataset
from mmground.datasets.grounding_shapes.png_format import encode_ids
from mmground.utils import register_all_modules
from mmground.utils.cli import check_file

_CONFIG = 'configs/ppmn/ppmn_r101-fpn_4xb12-14e_png.py'
# The real data: 134,272 narratives of the train split about 118,287 images.
_NARRATIVES, _IMAGES = 134_272, 118_287
_PHRASES, _GROUNDED = 11, 5  # noun phrases of a narrative, and those with segments
_SEGMENTS = 11
_SIZE = (480, 640)
_WORDS = ('in', 'this', 'image', 'we', 'see', 'the', 'man', 'woman', 'dog', 'car', 'tree', 'wall')


def main(argv: Sequence[str] | None = None) -> dict:
    """Generate, measure, print.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Returns:
        ``load`` with ``seconds``, ``cpu_seconds``, ``peak_mb`` and ``before_mb`` (the peak
        of the process before it loads), and ``samples_per_second`` by number of workers.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('--config', default=_CONFIG, help='whose train pipeline is run')
    parser.add_argument('--narratives', type=int, default=_NARRATIVES, help='(%(default)s)')
    parser.add_argument('--images', type=int, default=_IMAGES, help='(%(default)s)')
    parser.add_argument('--pictures', type=int, default=32, help='different pictures (%(default)s)')
    parser.add_argument(
        '--workers', type=int, nargs='*', default=[1, 2], help='of the loader, each in turn (1 2)'
    )
    parser.add_argument('--batch-size', type=int, default=12, help='(%(default)s)')
    parser.add_argument('--batches', type=int, default=20, help='timed per run (%(default)s)')
    args = parser.parse_args(argv)
    check_file(parser, args.config, 'config file')
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
            f'load annotations: {load["seconds"]:.1f} s ({load["cpu_seconds"]:.1f} s of CPU), peak '
            f'memory {load["peak_mb"]:.0f} MB, of which {load["before_mb"]:.0f} MB before loading'
        )
        register_all_modules()
        dataset = PNGDataset(**arguments, pipeline=pipeline)
        speeds = {}
        for workers in args.workers:
            speeds[workers] = measure_loader(dataset, workers, args.batch_size, args.batches)
            print(f'{workers} workers: {speeds[workers]:.1f} samples/s')
    return dict(load=load, samples_per_second=speeds)


def write_data(root: Path, narratives: int, images: int, pictures: int) -> dict:
    """Write a train split of generated annotations.

    Args:
        root: An empty folder.
        narratives: Number of narratives.
        images: Images in the annotations.
        pictures: Files that these images share.

    Returns:
        Arguments of :class:`PNGDataset`.
    """
    rng = np.random.default_rng(0)
    prefix = dict(
        img_path='images/train2017', seg_map_path='annotations/panoptic_segmentation/train2017'
    )
    for folder in prefix.values():
        (root / folder).mkdir(parents=True)
    segments = [_write_picture(root, prefix, i, rng) for i in range(min(pictures, images))]

    height, width = _SIZE
    panoptic = root / 'annotations' / 'panoptic_train2017.json'
    with panoptic.open('w') as file:
        file.write('{"info": {}, "images": [')
        for i in range(images):
            name = f'{i % len(segments):012d}.jpg'
            image = dict(license=3, file_name=name, coco_url='', height=height, width=width, id=i)
            file.write((', ' if i else '') + json.dumps(image))
        file.write('], "annotations": [')
        for i in range(images):
            name = f'{i % len(segments):012d}.png'
            annotation = dict(segments_info=segments[i % len(segments)], file_name=name, image_id=i)
            file.write((', ' if i else '') + json.dumps(annotation))
        categories = [dict(id=i, name=f'kind {i}', isthing=i % 2) for i in range(1, 134)]
        file.write(f'], "categories": {json.dumps(categories)}}}')
    with (root / 'annotations' / 'png_coco_train2017.json').open('w') as file:
        file.write('[')
        for i in range(narratives):
            image = i % images
            narrative = _narrative(image, segments[image % len(segments)], rng)
            file.write((', ' if i else '') + json.dumps(narrative))
        file.write(']')
    return dict(
        data_root=str(root),
        ann_file='annotations/png_coco_train2017.json',
        panoptic_ann_file='annotations/panoptic_train2017.json',
        data_prefix=prefix,
    )


def _write_picture(root: Path, prefix: dict, index: int, rng: np.random.Generator) -> list[dict]:
    """Write a picture and its panoptic PNG; returns ``segments_info``."""
    height, width = _SIZE
    # Smooth, so that the JPEG is as large as a photo's.
    noise = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    picture.save(root / prefix['img_path'] / f'{index:012d}.jpg', quality=90)
    ids = rng.choice(2**24 - 1, _SEGMENTS, replace=False) + 1
    edges = np.linspace(0, width, _SEGMENTS + 1).astype(int)
    segment_map = np.repeat(ids, np.diff(edges))[None].repeat(height, axis=0)
    Image.fromarray(encode_ids(segment_map)).save(
        root / prefix['seg_map_path'] / f'{index:012d}.png'
    )
    return [
        dict(
            id=int(segment_id),
            category_id=int(rng.integers(1, 134)),
            iscrowd=0,
            bbox=[int(left), 0, int(right - left), height],
            area=int(right - left) * height,
        )
        for segment_id, left, right in zip(ids, edges, edges[1:], strict=False)
    ]


def _narrative(image: int, segments: list[dict], rng: np.random.Generator) -> dict:
    """Alternately a noun phrase and what joins it to the next."""
    words = rng.choice(_WORDS, (2 * _PHRASES, 2))
    grounded = set(rng.choice(_PHRASES, _GROUNDED, replace=False).tolist())
    parts = []
    for i, pair in enumerate(words.tolist()):
        noun = i % 2 == 1
        ids = []
        if noun and i // 2 in grounded:
            count = 1 if rng.random() < 0.9 else 2
            start = int(rng.integers(len(segments) - 1))
            ids = [str(segment['id']) for segment in segments[start : start + count]]
        parts.append(
            dict(utterance=' '.join(pair), segment_ids=ids, plural=len(ids) > 1, noun=noun)
        )
    caption = ' '.join(part['utterance'] for part in parts)
    return dict(
        annotator_id=1,
        image_id=str(image),
        caption=caption.capitalize() + '.',
        segments=[*parts, dict(utterance='.', segment_ids=[], plural=False, noun=False)],
    )


def measure_load(arguments: dict) -> dict[str, float]:
    """Load the annotations once; see :func:`main` for what is returned."""
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


def measure_loader(dataset: PNGDataset, workers: int, batch_size: int, batches: int) -> float:
    """Samples per second of a data loader, from its second batch on.

    Raises:
        ValueError: If the data set has too few samples.
    """
    if len(dataset) < (batches + 1) * batch_size:
        raise ValueError(f'{len(dataset)} samples are too few for {batches + 1} batches')
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
