"""Predictions beside their ground truth in a file of plain JSON, a line per sample.

The first line is a header::

    {"mmground_results": 1, "num_samples": 2, "categories": [{"id": 1, "name": "person"}, ...]}

Every other line is a sample::

    {"sample_id": "139_0", "img_id": "139", "img_path": "images/000000000139.jpg",
     "text": "A man ...", "height": 426, "width": 640,
     "phrases": [{"text": "A man", "span": [0, 5], ...}],
     "regions": [{"mask": RLE, "bbox": [x1, y1, x2, y2], "is_thing": true, "category_id": 1}],
     "links": [[0, 0], ...],
     "predictions": [{"mask": RLE, "score": 0.9, "dropped": false, "grid_mask": RLE}],
     "geometry": {"img_shape": [800, 1202], ...}}

Masks are COCO run-length codes in the size of the image; ``grid_mask`` says where the
probability exceeds 0.5 on the network's grid, whose place on the image ``geometry`` tells; a
``bbox`` of a prediction is in the image, a ``canvas_bbox`` on the network's canvas. Referring
expressions also have ``dataset`` and ``split``. A key is there only if the data sample had it.
"""

import gzip
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from mmengine.structures import InstanceData

from mmground.datasets.transforms import LoadGroundingImage
from mmground.structures import Geometry, GroundingDataSample, decode_masks, encode_masks

SUFFIXES = ('.jsonl', '.jsonl.gz')
"""What the name of a results file ends with."""

_VERSION = 1
_META_KEYS = ('sample_id', 'img_id', 'img_path', 'text', 'dataset', 'split')
_FIELDS = {
    # name in the file: (field of gt_regions or pred_phrases, type of the tensor)
    'regions': {
        'bbox': ('bboxes', torch.float32),
        'is_thing': ('is_thing', torch.bool),
        'category_id': ('category_ids', torch.int64),
    },
    'predictions': {
        'bbox': ('bboxes', torch.float32),
        'canvas_bbox': ('canvas_bboxes', torch.float32),
        'score': ('scores', torch.float32),
        'dropped': ('dropped', torch.bool),
        'point_hit': ('point_hit', torch.bool),
    },
}


def check_results_name(path: str | Path) -> None:
    """Refuse a name that does not end as a results file's does.

    Raises:
        ValueError: If it does not end with one of :data:`SUFFIXES`.
    """
    if not str(path).endswith(SUFFIXES):
        raise ValueError(
            f'{path}: a file of results is JSON lines, plain or compressed: its name must end '
            f'with {" or ".join(SUFFIXES)}'
        )


def sample_to_line(sample: dict) -> str:
    """A data sample as a line of the file.

    Args:
        sample: A :class:`GroundingDataSample` with ``pred_phrases``, as a nested dict.

    Raises:
        KeyError: If it has no predictions.
    """
    if 'pred_phrases' not in sample:
        raise KeyError(f'sample {sample["sample_id"]} has no pred_phrases to write')
    predicted, num_phrases = sample['pred_phrases'], len(sample['phrases'])
    record = {key: sample[key] for key in _META_KEYS if key in sample}
    if 'ori_shape' in sample:
        record['height'], record['width'] = map(int, sample['ori_shape'])
    record['phrases'] = sample['phrases']
    if 'gt_regions' in sample:
        regions = sample['gt_regions']
        num_regions = len(next(iter(regions.values()), ()))
        record['regions'] = _instances_to_dicts('regions', regions, num_regions)
    if 'links' in sample:
        record['links'] = sample['links'].tolist()
    record['predictions'] = _instances_to_dicts('predictions', predicted, num_phrases)
    if 'grid_probs' in predicted:
        codes = encode_masks(predicted['grid_probs'] > 0.5)
        for entry, code in zip(record['predictions'], codes, strict=True):
            entry['grid_mask'] = code
    geometry = sample.get('geometry')
    if geometry is not None and geometry.canvas_shape is not None:
        # What protocols on the canvas need.
        record['geometry'] = asdict(geometry)
        del record['geometry']['ori_shape']
    return json.dumps(record, ensure_ascii=False, separators=(',', ':'))


def _instances_to_dicts(kind: str, instances: dict, count: int) -> list[dict]:
    columns = {
        name: instances[field].tolist()
        for name, (field, _) in _FIELDS[kind].items()
        if field in instances
    }
    if 'masks' in instances:
        columns['mask'] = encode_masks(instances['masks'].bool())
    if any(len(values) != count for values in columns.values()):
        counts = {name: len(values) for name, values in columns.items()}
        raise ValueError(f'expected {count} {kind}, got {counts}')
    return [{name: values[i] for name, values in columns.items()} for i in range(count)]


def write_results(path: str | Path, lines: Iterable[str], categories: list[dict]) -> None:
    """Write a results file; an existing one is replaced when the new one is complete.

    Args:
        path: Ends with one of :data:`SUFFIXES`.
        lines: What :func:`sample_to_line` made.
        categories: Dicts with ``id`` and ``name``, possibly none.
    """
    check_results_name(path)
    path, lines = Path(path), list(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    header = dict(mmground_results=_VERSION, num_samples=len(lines), categories=categories)
    open_file = gzip.open if path.name.endswith('.gz') else open
    try:
        with open_file(partial, 'wt', encoding='utf-8') as file:
            file.write(json.dumps(header, ensure_ascii=False) + '\n')
            file.writelines(line + '\n' for line in lines)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class DumpedResults:
    """Samples of a results file, read one after the other each time one iterates.

    Args:
        path: What :class:`DumpGroundingResults` wrote.

    Attributes:
        categories (dict[int, str]): Names by category id.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Here or while iterating, if the file is damaged or of another kind.

    Example:
        >>> for sample in DumpedResults('results.jsonl.gz'):
        ...     print(sample.sample_id, sample.pred_phrases.masks.shape)
    """

    def __init__(self, path: str | Path) -> None:
        check_results_name(path)
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f'{path}: the file of results does not exist')
        header = next(self._lines(), None)
        if not isinstance(header, dict) or header.get('mmground_results') != _VERSION:
            raise ValueError(
                f'{path}: not a file of results: its first line is no header of version '
                f'{_VERSION}; write one with tools/test.py --out'
            )
        self._num_samples = header['num_samples']
        self.categories = {
            category['id']: category['name'] for category in header.get('categories', ())
        }

    def __len__(self) -> int:
        return self._num_samples

    def __iter__(self) -> Iterator[GroundingDataSample]:
        lines = self._lines()
        next(lines)
        count = 0
        for count, record in enumerate(lines, 1):
            try:
                yield _record_to_sample(record)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f'{self.path}: line {count + 1} is malformed ({error!r}); write the file anew'
                ) from error
        if count != self._num_samples:
            raise ValueError(
                f'{self.path}: the file holds {count} of {self._num_samples} samples: it is '
                'truncated, write it anew'
            )

    def _lines(self) -> Iterator[dict]:
        open_file = gzip.open if self.path.name.endswith('.gz') else open
        number = 0
        try:
            with open_file(self.path, 'rt', encoding='utf-8') as file:
                for line in file:
                    yield json.loads(line)
                    number += 1
        except (EOFError, OSError, ValueError) as error:
            raise ValueError(
                f'{self.path}: damaged after line {number} ({error}); write the file anew'
            ) from error


def image_of(sample: GroundingDataSample, img_dir: str | Path | None = None) -> np.ndarray:
    """Read the image of a sample of a results file.

    Args:
        sample: The sample; the path that is read becomes its ``img_path``.
        img_dir: Folder of the images, where they are no longer at the recorded paths.

    Returns:
        RGB, (H, W, 3) uint8.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if img_dir is not None:
        sample.set_metainfo(dict(img_path=str(Path(img_dir) / Path(sample.img_path).name)))
    loaded = LoadGroundingImage()(dict(img_path=sample.img_path, sample_id=sample.sample_id))
    return np.ascontiguousarray(loaded['img'][..., ::-1])


def _record_to_sample(record: dict) -> GroundingDataSample:
    metainfo = {key: record[key] for key in _META_KEYS if key in record}
    metainfo['phrases'] = [
        {**phrase, 'span': tuple(phrase['span'])} if 'span' in phrase else phrase
        for phrase in record['phrases']
    ]
    shape = None
    if 'height' in record:
        shape = metainfo['ori_shape'] = (record['height'], record['width'])
    sample = GroundingDataSample(metainfo=metainfo)
    if 'regions' in record:
        sample.gt_regions = _dicts_to_instances('regions', record['regions'], shape)
        if not record['regions'] and shape is not None:
            # A text without target: there is no region to tell what is annotated of each.
            sample.gt_regions.bboxes = torch.zeros(0, 4)
            sample.gt_regions.masks = torch.zeros(0, *shape, dtype=torch.bool)
    if 'links' in record:
        sample.links = torch.tensor(record['links'], dtype=torch.int64).reshape(-1, 2)
    entries = record['predictions']
    sample.pred_phrases = _dicts_to_instances('predictions', entries, shape)
    if 'geometry' in record:
        # JSON has lists where the geometry has tuples.
        fields = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record['geometry'].items()
        }
        geometry = Geometry(shape, **fields)
        sample.set_metainfo(dict(img_shape=geometry.img_shape, geometry=geometry))
    if entries and 'grid_mask' in entries[0]:
        codes = [entry['grid_mask'] for entry in entries]
        masks = decode_masks(codes, tuple(codes[0]['size']))
        # Of the probabilities, the side of 0.5 is kept.
        sample.pred_phrases.grid_probs = torch.from_numpy(masks).float()
    return sample


def _dicts_to_instances(
    kind: str, entries: list[dict], shape: tuple[int, int] | None
) -> InstanceData:
    instances = InstanceData()
    for name, (field, dtype) in _FIELDS[kind].items():
        if entries and name in entries[0]:
            instances[field] = torch.tensor([entry[name] for entry in entries], dtype=dtype)
    if entries and 'mask' in entries[0]:
        masks = decode_masks([entry['mask'] for entry in entries], shape)
        instances.masks = torch.from_numpy(masks)
    return instances
