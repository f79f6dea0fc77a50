"""Proposals that others extracted, in the files in which they come."""

import base64
import binascii
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmground.utils.numpy_pickle import read_numpy_archive, read_numpy_pickle

# Of bottom-up-attention, and of the longer form that also tells categories (LXMERT).
_TSV_SHORT = ('image_id', 'image_w', 'image_h', 'num_boxes', 'boxes', 'features')
_TSV_LONG = (
    'img_id', 'img_h', 'img_w', 'objects_id', 'objects_conf', 'attrs_id', 'attrs_conf', 'num_boxes',
    'boxes', 'features',
)  # fmt: skip

_FIRST_LABELS = dict(reir=1, tsv=0)
# ReIR's official code takes the first rows as they come, whatever their scores are.
_IN_OWN_ORDER = ('reir',)


@dataclass
class ImportedProposals:
    """Reads proposals.

    Of most files those of an image come the best first. ``'reir'`` keeps the order of its rows, as
    its official code does: of the first ``num``, background and boxes without area are left out.

    Args:
        path: The file or folder.
        kind: ``'reir'``, the pickle of the official code of ReIR; ``'tsv'`` or ``'npz'``, a table
            or a folder of archives of bottom-up-attention, with categories.
        first_label: The number of the first category in the file. What has a smaller one is
            background, and left out. None is that of the kind: 1 for ``'reir'``, 0 for ``'tsv'``.
            Archives come with either, so ``'npz'`` needs it.
        num: How many are kept of an image.

    Attributes:
        left_out (dict[str, int]): Boxes that are background, or have no area.
    """

    path: str
    kind: str
    first_label: int | None = None
    num: int = 50
    left_out: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(('background', 'without area'), 0)
    )

    def __post_init__(self) -> None:
        if self.kind not in READERS:
            raise ValueError(f'kind must be one of {list(READERS)}, got {self.kind!r}')
        if self.first_label is None:
            if self.kind not in _FIRST_LABELS:
                raise ValueError(
                    f'{self.kind} files number their categories from 0, or from 1 with 0 as the '
                    'background, and do not tell which: give first_label (--first-label)'
                )
            self.first_label = _FIRST_LABELS[self.kind]

    @property
    def order(self) -> str:
        """What those of an image are sorted by, as the header of :class:`ProposalStore` has it."""
        return 'source' if self.kind in _IN_OWN_ORDER else 'score'

    def __iter__(self) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Pairs of an image and its ``boxes``, ``labels`` and ``scores``.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it, or the entry of an image, is malformed. The message names both.
        """
        for img_id, boxes, labels, scores in READERS[self.kind](self.path):
            try:
                yield img_id, self._tidy(boxes, labels, scores)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f'{self.path}: the proposals of image {img_id!r} are malformed ({error}); '
                    'extract them again'
                ) from error

    def _tidy(self, boxes, labels, scores) -> dict[str, np.ndarray]:
        boxes = np.asarray(boxes, np.float32)
        labels, scores = np.asarray(labels), np.asarray(scores, np.float32)
        if (
            boxes.ndim != 2
            or boxes.shape[1] != 4
            or {labels.shape, scores.shape} != {boxes.shape[:1]}
        ):
            raise ValueError(f'shapes {boxes.shape}, {labels.shape} and {scores.shape}')
        whole = labels.astype(np.int64)
        if (whole != labels).any():
            raise ValueError('a category is no whole number')
        if self.order == 'source':
            order = np.arange(len(boxes))[: self.num]
        else:
            order = np.argsort(-scores, kind='stable')
        boxes, labels, scores = boxes[order], whole[order] - self.first_label, scores[order]
        has_area = (boxes[:, :2] < boxes[:, 2:]).all(1)
        is_object = labels >= 0
        self.left_out['background'] += int((~is_object).sum())
        self.left_out['without area'] += int((is_object & ~has_area).sum())
        kept = (has_area & is_object).nonzero()[0][: self.num]
        return dict(boxes=boxes[kept], labels=labels[kept], scores=scores[kept])


def _read_reir(path: str) -> Iterator[tuple]:
    """``precomp_annos.pkl``: by image ``boxes``, rows of x1, y1, x2, y2, score and label."""
    content = read_numpy_pickle(path, remedy='Extract the proposals with extract_proposals.py')
    if not isinstance(content, dict):
        raise ValueError(f'{path}: expected a dict of images, got a {type(content).__name__}')
    for img_id, entry in content.items():
        boxes = entry.get('boxes') if isinstance(entry, dict) else None
        boxes = np.asarray([] if boxes is None else boxes)
        if boxes.ndim != 2 or boxes.shape[1] != 6:
            raise ValueError(
                f'{path}: the entry of image {img_id!r} has no boxes of six numbers (x1, y1, x2, '
                'y2, score, label)'
            )
        yield str(img_id), boxes[:, :4], boxes[:, 5], boxes[:, 4]


def _read_tsv(path: str) -> Iterator[tuple]:
    # Features of an image are a field of hundreds of kilobytes.
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        with open(path, newline='', encoding='utf-8') as file:
            for number, row in enumerate(csv.reader(file, delimiter='\t'), start=1):
                if len(row) == len(_TSV_SHORT):
                    raise ValueError(
                        f'{path}: the table has no categories of the boxes, which are needed; '
                        'extract it with objects_id and objects_conf, or use extract_proposals.py'
                    )
                if len(row) != len(_TSV_LONG):
                    raise ValueError(
                        f'{path}: line {number} has {len(row)} fields, not {len(_TSV_LONG)}: '
                        f'{", ".join(_TSV_LONG)}'
                    )
                yield _tsv_row(path, number, dict(zip(_TSV_LONG, row, strict=True)))
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{path}: the table does not exist') from error
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: the file is no table ({error})') from error


def _tsv_row(path: str, number: int, row: dict[str, str]) -> tuple:
    try:
        count = int(row['num_boxes'])
        boxes, labels, scores = (
            np.frombuffer(base64.b64decode(row[key], validate=True), dtype)
            for key, dtype in (('boxes', '<f4'), ('objects_id', '<i8'), ('objects_conf', '<f4'))
        )
        return row['img_id'], boxes.reshape(count, 4), labels, scores
    except (ValueError, binascii.Error) as error:
        raise ValueError(
            f'{path}: line {number} is malformed ({error}); the file is damaged, or not as LXMERT '
            'has it'
        ) from error


def _read_npz(path: str) -> Iterator[tuple]:
    """A folder with an archive per image: ``bbox``, and ``info`` with categories."""
    files = sorted(Path(path).glob('*.npz'))
    if not files:
        raise FileNotFoundError(f'{path}: there is no .npz in the folder')
    for file in files:
        content = read_numpy_archive(str(file))
        info = content.get('info', content)
        missing = {'objects_id', 'objects_conf'} - set(info if isinstance(info, dict) else ())
        if 'bbox' not in content or missing:
            raise ValueError(
                f'{file}: expected bbox, objects_id and objects_conf (the latter two may be in '
                f'info), found {sorted(content)}; extract boxes with their categories'
            )
        yield file.stem, content['bbox'], info['objects_id'], info['objects_conf']


READERS = dict(reir=_read_reir, tsv=_read_tsv, npz=_read_npz)
"""By kind of file what yields images, boxes, labels and scores."""
