"""The files of the refer API: which sets there are, and how they are read.

The API (https://github.com/lichengunc/refer) brings RefCOCO, RefCOCO+, RefCOCOg and ReferItGame
in one form: ``instances.json``, annotations in COCO's format, and ``refs(*).p``, a pickle of
Python 2 with the references and their expressions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmground.utils.numpy_pickle import read_numpy_pickle

from .json_stream import iter_json
from .malformed import malformed

_COCO_IMAGES = 'images/mscoco/images/train2014'


@dataclass(frozen=True)
class PublishedCounts:
    """What papers and the API's documentation say of a split; None where they do not."""

    images: int | None
    refs: int | None
    expressions: int


@dataclass(frozen=True)
class ReferSet:
    """One of the data sets, in one of its divisions into splits.

    Attributes:
        folder: Its folder in the data root.
        refs_file: Name of the file of references in it.
        splits: Published counts by split. Training first.
        image_folder: Where its images are in the data root, by the API's convention.
        shares_images: Whether an image may be in several splits.
    """

    folder: str
    refs_file: str
    splits: dict[str, PublishedCounts]
    image_folder: str = _COCO_IMAGES
    shares_images: bool = False

    @property
    def refs_path(self) -> str:
        """The file of references, relative to the data root."""
        return f'{self.folder}/{self.refs_file}'

    @property
    def instances_path(self) -> str:
        """The file of annotations, relative to the data root."""
        return f'{self.folder}/instances.json'

    @property
    def held_out(self) -> list[str]:
        """All splits but that for training."""
        return [split for split in self.splits if split != 'train']


REFER_SETS = {
    'refcoco': ReferSet(
        'refcoco',
        'refs(unc).p',
        dict(
            train=PublishedCounts(16994, 42404, 120624),
            val=PublishedCounts(1500, 3811, 10834),
            testA=PublishedCounts(750, 1975, 5657),
            testB=PublishedCounts(750, 1810, 5095),
        ),
    ),
    'refcoco+': ReferSet(
        'refcoco+',
        'refs(unc).p',
        dict(
            train=PublishedCounts(16992, 42278, 120191),
            val=PublishedCounts(1500, 3805, 10758),
            testA=PublishedCounts(750, 1975, 5726),
            testB=PublishedCounts(750, 1798, 4889),
        ),
    ),
    'refcocog': ReferSet(
        'refcocog',
        'refs(umd).p',
        dict(
            train=PublishedCounts(21899, 42226, 80512),
            val=PublishedCounts(1300, 2573, 4896),
            test=PublishedCounts(2600, 5023, 9602),
        ),
    ),
    'refcocog_google': ReferSet(
        'refcocog',
        'refs(google).p',
        dict(
            train=PublishedCounts(None, 44822, 85474),
            val=PublishedCounts(None, 5000, 9536),
        ),
        shares_images=True,
    ),
    'refclef': ReferSet(
        'refclef',
        'refs(berkeley).p',
        dict(
            train=PublishedCounts(None, None, 54127),
            val=PublishedCounts(None, None, 5842),
            test=PublishedCounts(None, None, 60103),
        ),
        image_folder='images/saiapr_tc-12',
    ),
}
"""By the name that :class:`RefCocoDataset` takes: RefCOCO and RefCOCO+ (UNC's splits),
RefCOCOg (UMD's and Google's) and ReferItGame (Berkeley's)."""

HELD_OUT = 'held-out'
"""In place of a split: every one but that for training."""


def resolve_splits(name: str, split: str | Sequence[str]) -> list[str]:
    """The splits of a set that a user means.

    Args:
        name: A key of :data:`REFER_SETS`.
        split: A split, several, or :data:`HELD_OUT`.

    Raises:
        ValueError: If there is no such set or split; no two splits are ever merged under
            another name.

    Example:
        >>> resolve_splits('refcoco', 'held-out')
        ['val', 'testA', 'testB']
    """
    if name not in REFER_SETS:
        raise ValueError(f'there is no set {name!r}; name one of {list(REFER_SETS)}')
    known = REFER_SETS[name].splits
    if split == HELD_OUT:
        return REFER_SETS[name].held_out
    splits = [split] if isinstance(split, str) else list(split)
    for one in splits:
        if one not in known:
            tests = [known_split for known_split in known if known_split.startswith('test')]
            hint = (
                f'; it has {len(tests)} test splits, {" and ".join(tests)}: name one, or both in '
                'a list'
                if one == 'test' and tests
                else ''
            )
            raise ValueError(
                f'{name} has no split {one!r}, but {list(known)}{hint} ({HELD_OUT!r} means all '
                'but train, each reported apart)'
            )
    if not splits or len(set(splits)) < len(splits):
        raise ValueError(f'split must name each split once, and one at least, got {split!r}')
    return splits


@dataclass(slots=True)
class Sentence:
    """An expression of a reference.

    Attributes:
        sent_id: Unique in its file.
        text: The cleaned text; as it was typed, where cleaning left nothing.
        type: What distinguishes the target ('attribute', 'position', ...), of generated data
            only; empty otherwise.
    """

    sent_id: int
    text: str
    type: str = ''


@dataclass(slots=True)
class Ref:
    """A referred object with the expressions for it. ``ann_id`` is None without a target."""

    ref_id: int
    ann_id: int | None
    image_id: int
    split: str
    sentences: list[Sentence]


def read_refs(path: str) -> list[Ref]:
    """Read ``refs(*).p`` without running code that it may bring along.

    The name of the image in the file is not that of a file (it has the number of the
    reference appended), and is not read.

    Args:
        path: The file, on this machine.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a pickle of plain data, or an entry is malformed.
    """
    try:
        entries = read_numpy_pickle(
            path, remedy='The published files hold plain data only: download it again'
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{path}: the file of references does not exist; check data_root, or get the data '
            '(docs/en/data_preparation.md; Grounding Shapes: tools/misc/make_shapes.py)'
        ) from error
    if not isinstance(entries, list):
        raise ValueError(
            f'{path}: expected the list of references of the refer API, got a '
            f'{type(entries).__name__}; check the file'
        )
    refs = []
    for index, entry in enumerate(entries):
        try:
            refs.append(_parse_ref(entry))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            malformed(path, f'reference {index}', error)
    return refs


def _parse_ref(entry: dict) -> Ref:
    ann_id = entry['ann_id']
    sentences = [
        Sentence(
            int(sentence['sent_id']),
            _text(sentence['sent']).strip() or _text(sentence.get('raw', '')).strip(),
            _text(sentence.get('type', '')),
        )
        for sentence in entry['sentences']
    ]
    if not sentences:
        raise ValueError('it has no sentence')
    return Ref(
        ref_id=int(entry['ref_id']),
        ann_id=None if ann_id is None or int(ann_id) < 0 else int(ann_id),
        image_id=int(entry['image_id']),
        split=_text(entry['split']),
        sentences=sentences,
    )


def _text(value: Any) -> str:
    """Text of Python 2: bytes that were read as Latin-1, which UTF-8 mostly were."""
    if isinstance(value, bytes):
        value = value.decode('latin-1')
    if not isinstance(value, str):
        raise TypeError(f'{value!r} is no text')
    try:
        return value.encode('latin-1').decode('utf-8')
    except UnicodeError:
        return value


@dataclass(slots=True)
class InstanceImage:
    """An image of ``instances.json``."""

    file_name: str
    height: int
    width: int


@dataclass(slots=True)
class Instance:
    """An annotation: ``bbox`` as (x, y, width, height), ``mask`` as :func:`decode_mask` takes."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    mask: list | dict


@dataclass
class Instances:
    """What ``instances.json`` says of some annotations. See :func:`read_instances`."""

    path: str
    images: dict[int, InstanceImage] = field(default_factory=dict)
    annotations: dict[int, Instance] = field(default_factory=dict)
    categories: list[dict] = field(default_factory=list)
    description: str = ''

    def of(self, ref: Ref, refs_path: str) -> tuple[InstanceImage, Instance | None]:
        """Image and annotation of a reference; None for one without a target.

        Args:
            ref: The reference.
            refs_path: Its file, for the messages.

        Raises:
            ValueError: If the file lacks one of the two, or they do not belong together.
        """
        where = f'reference {ref.ref_id} of {refs_path}'
        image = self.images.get(ref.image_id)
        if image is None:
            raise ValueError(
                f'{self.path}: there is no image {ref.image_id}, which {where} describes; take '
                'both files of the same set'
            )
        if ref.ann_id is None:
            return image, None
        instance = self.annotations.get(ref.ann_id)
        if instance is None or instance.image_id != ref.image_id:
            of_image = '' if instance is None else f' of image {ref.image_id}'
            raise ValueError(
                f'{self.path}: there is no annotation {ref.ann_id}{of_image}, to which {where} '
                'refers; take both files of the same set'
            )
        return image, instance


def read_instances(path: str, ann_ids: set[int], backend_args: dict | None = None) -> Instances:
    """Read ``instances.json``: the images, the categories and some annotations.

    Args:
        path: The file.
        ann_ids: The annotations to keep.
        backend_args: File backend of :mod:`mmengine.fileio`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, lacks a list or has a malformed entry.
    """
    instances = Instances(path)
    found: dict[str, int] = {}
    for key, index, entry in _entries(path, backend_args, found):
        try:
            if key == 'info' and isinstance(entry, dict):
                instances.description = str(entry.get('description', ''))
            elif key == 'images':
                instances.images[int(entry['id'])] = InstanceImage(
                    str(entry['file_name']), int(entry['height']), int(entry['width'])
                )
            elif key == 'annotations' and entry['id'] in ann_ids:
                instances.annotations[entry['id']] = _parse_instance(entry)
            elif key == 'categories':
                instances.categories.append(dict(id=int(entry['id']), name=str(entry['name'])))
        except (KeyError, TypeError, ValueError) as error:
            malformed(path, f'entry {index} of the list {key!r}', error)
    missing = {'images', 'annotations', 'categories'} - set(found)
    if missing:
        raise ValueError(
            f'{path}: expected annotations in the format of COCO, but there is no list '
            f'{sorted(missing)}; check the file'
        )
    return instances


def _entries(
    path: str, backend_args: dict | None, found: dict[str, int]
) -> Iterator[tuple[str, int, Any]]:
    """What is in the file's lists, with its index, and its ``info``.

    ``found`` gets the length of each list so far.
    """
    for key, entry in iter_json(path, backend_args):
        if key == 'info':
            yield key, 0, entry
        elif key in ('images', 'annotations', 'categories'):
            # The first of a list is the list itself, empty.
            if key not in found and entry == []:
                found[key] = 0
            elif key in found:
                yield key, found[key], entry
                found[key] += 1


def _parse_instance(entry: dict) -> Instance:
    x, y, width, height = entry['bbox']
    mask = entry['segmentation']
    if not isinstance(mask, list | dict):
        raise TypeError(f'the segmentation is {str(mask)[:80]!r}')
    return Instance(
        int(entry['image_id']),
        int(entry['category_id']),
        (float(x), float(y), float(width), float(height)),
        mask,
    )
