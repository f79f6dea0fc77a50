from collections.abc import Iterator
from numbers import Real
from typing import Any, ClassVar, NoReturn

from mmengine.fileio import join_path

from mmground.registry import DATASETS
from mmground.structures import check_polygons, find_phrases

from .base_grounding import BaseGroundingDataset
from .json_stream import iter_json


@DATASETS.register_module()
class GroundingJsonDataset(BaseGroundingDataset):
    """Your own data, in one JSON file: images, texts, and what their phrases refer to.

    The file holds a list with an entry for each text about an image::

        [{"image": "park.jpg",
          "text": "A man throws a red frisbee to two dogs.",
          "phrases": [
            {"text": "A man", "regions": [0]},
            {"span": [13, 26], "regions": [1]},
            {"text": "two dogs", "regions": [2, 3]}],
          "regions": [
            {"mask": [[10, 20, 60, 20, 60, 180, 10, 180]], "category": "person"},
            {"mask": {"size": [240, 320], "counts": "..."}, "category": "frisbee"},
            {"mask": "park_dog1.png", "category": "dog"},
            {"mask": "park_dog2.png", "category": "dog", "bbox": [200, 90, 280, 170]}]}]

    - ``image``: file, relative to ``data_prefix['img_path']``.
    - ``text``: any text.
    - ``phrases``: at least one, each with ``regions``, indices into the entry's regions (one,
      or several for a plural), and with its ``text``, its ``span`` or both. A span is a range
      of characters, ``[start, end)``. A text alone is found in the entry's text as whole
      words, regardless of case; a phrase that is listed twice is found at its first and its
      second place.
    - ``regions``: each with ``mask``, ``bbox`` or both. A mask is a list of polygons
      ``[x1, y1, x2, y2, ...]``, a COCO run-length code, or a file relative to
      ``data_prefix['mask_path']`` in which everything but 0 (black) belongs to the region.
      A box is ``[x1, y1, x2, y2]``, not width and height. Both are in pixels of the
      original image. ``category`` is a name; ``is_thing`` (true unless stated) tells
      countable things from stuff such as grass.
    - ``id`` (by default the entry's index) and ``image_id`` (by default ``image``) name the
      sample and its image; ``height`` and ``width`` are compared with the image's, if given.

    Masks are read by :class:`LoadGroundingMasks` when a sample is. It wants a mask for every
    region; a pipeline for boxes leaves it out.

    ``metainfo['categories']`` lists the names of the categories with ids in the order in which
    they first occur; to have the same ids in several files, give it as ``metainfo``.

    Args:
        ann_file: The JSON file.
        data_prefix: ``img_path`` and ``mask_path``: folders of the images and of the mask
            files. Both default to ``data_root``.
        metainfo: May have ``categories``, dicts with ``id`` and ``name``.
        **kwargs: See :class:`BaseGroundingDataset`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not JSON or an entry is not as above. The message names file,
            entry and what is wrong.

    Example:
        >>> dataset = GroundingJsonDataset(
        ...     data_root='data/park', ann_file='train.json', data_prefix=dict(img_path='images'))
    """

    METAINFO: ClassVar[dict] = {'dataset_type': 'grounding_json'}

    def __init__(self, *args, data_prefix: dict | None = None, **kwargs):
        data_prefix = dict(dict(img_path='', mask_path=''), **(data_prefix or {}))
        super().__init__(*args, data_prefix=data_prefix, **kwargs)

    def load_records(self) -> Iterator[dict]:
        """Read the file entry by entry.

        Yields:
            A record per entry.
        """
        given = self._metainfo.get('categories')
        names = {category['name']: category['id'] for category in given or ()}
        for index, (key, entry) in enumerate(iter_json(self.ann_file, self.backend_args)):
            if key is not None or not isinstance(entry, dict):
                raise ValueError(
                    f'{self.ann_file}: expected a list of entries, each an object with image, '
                    'text, phrases and regions (see docs/en/custom_data.md); check ann_file'
                )
            reader = _EntryReader(self.ann_file, index, self.data_prefix, names, given is None)
            yield reader.record(entry)
        if given is None:
            self._metainfo['categories'] = [dict(id=id_, name=name) for name, id_ in names.items()]


class _EntryReader:
    """Turns an entry of the file into a record, or says what is wrong with it."""

    def __init__(
        self, path: str, index: int, data_prefix: dict, names: dict[str, int], may_add: bool
    ) -> None:
        self.path = path
        self.index = index
        self.data_prefix = data_prefix
        self.names = names
        self.may_add = may_add

    def record(self, entry: dict) -> dict:
        image = self._get(entry, 'image', str, 'the entry')
        text = self._get(entry, 'text', str, 'the entry')
        regions = [
            self._region(i, region)
            for i, region in enumerate(self._get(entry, 'regions', list, 'the entry'))
        ]
        phrases, links = self._phrases(entry, text)
        for i, phrase in enumerate(phrases):
            last = [region for linked, region in links if linked == i][-1]
            # What is no region is refused with all other links of the record.
            if 0 <= last < len(regions):
                phrase['type'] = 'thing' if regions[last]['is_thing'] else 'stuff'
        record = {
            'img_path': join_path(self.data_prefix['img_path'], image),
            'img_id': str(entry.get('image_id', image)),
            'sample_id': str(entry.get('id', self.index)),
            'text': text,
            'phrases': phrases,
            'regions': regions,
            'links': links,
        }
        for side in ('height', 'width'):
            if side in entry:
                record[side] = self._get(entry, side, int, 'the entry')
        return record

    def _phrases(self, entry: dict, text: str) -> tuple[list[dict], list[tuple[int, int]]]:
        phrases, links, to_find = [], [], []
        for i, phrase in enumerate(self._get(entry, 'phrases', list, 'the entry')):
            name = f'phrase {i}'
            indices = self._get(phrase, 'regions', list, name)
            if not indices or not all(type(region) is int for region in indices):
                self._refuse(f'"regions" of {name} must be indices of regions, got {indices}')
            links += [(i, region) for region in indices]
            found = {'phrase_id': str(i), 'type': 'thing'}
            if 'span' in phrase:
                span = phrase['span']
                if not (
                    isinstance(span, list)
                    and len(span) == 2
                    and all(type(place) is int for place in span)
                ):
                    self._refuse(f'"span" of {name} must be [start, end], got {span}')
                found['span'] = tuple(span)
                found['text'] = phrase.get('text', text[slice(*span)])
            else:
                if 'text' not in phrase:
                    self._refuse(f'{name} has neither "text" nor "span"')
                to_find.append((found, self._get(phrase, 'text', str, name)))
            phrases.append(found)
        try:
            places = find_phrases(text, [wanted for _, wanted in to_find])
        except ValueError as error:
            self._refuse(str(error))
        for (found, _), place in zip(to_find, places, strict=True):
            found['span'], found['text'] = place['span'], place['text']
        return phrases, links

    def _region(self, i: int, region: Any) -> dict:
        name = f'region {i}'
        mask = self._get(region, 'mask', (list, dict, str), name) if 'mask' in region else None
        if mask is None and 'bbox' not in region:
            self._refuse(f'{name} has neither "mask" nor "bbox"')
        record = {'is_thing': bool(region.get('is_thing', True))}
        if 'bbox' in region:
            box = region['bbox']
            if not (
                isinstance(box, list)
                and len(box) == 4
                and all(isinstance(side, Real) for side in box)
            ):
                self._refuse(f'"bbox" of {name} must be [x1, y1, x2, y2], got {box}')
            record['bbox'] = tuple(box)
        if isinstance(mask, str):
            record['mask'] = join_path(self.data_prefix['mask_path'], mask)
        elif mask is not None:
            if isinstance(mask, list):
                try:
                    check_polygons(mask)
                except ValueError as error:
                    self._refuse(f'"mask" of {name}: {error}')
            elif not {'size', 'counts'} <= set(mask):
                self._refuse(f'"mask" of {name} has no "size" and "counts" of a run-length code')
            record['mask'] = mask
        if 'category' in region:
            record['category_id'] = self._category(self._get(region, 'category', str, name))
        return record

    def _category(self, name: str) -> int:
        if name not in self.names:
            if not self.may_add:
                self._refuse(
                    f'category {name!r} is not among the categories {list(self.names)} of metainfo'
                )
            self.names[name] = len(self.names) + 1
        return self.names[name]

    def _get(self, holder: Any, key: str, kind: type | tuple[type, ...], name: str) -> Any:
        if not isinstance(holder, dict):
            self._refuse(f'{name} must be an object, got {str(holder)[:80]!r}')
        if key not in holder:
            self._refuse(f'{name} has no {key!r}')
        if not isinstance(holder[key], kind):
            self._refuse(f'{key!r} of {name} is of the wrong type: {str(holder[key])[:80]!r}')
        return holder[key]

    def _refuse(self, problem: str) -> NoReturn:
        raise ValueError(
            f'{self.path}: entry {self.index}: {problem}; the format is described in '
            'docs/en/custom_data.md'
        )
