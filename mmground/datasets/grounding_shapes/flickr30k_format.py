"""The layout of Flickr30k Entities: captions with marked phrases, boxes of what they refer to.

Below the data set's folder::

    flickr30k/Sentences/<image>.txt     flickr30k/Annotations/<image>.xml
    flickr30k/{train,val,test}.txt      flickr30k/relations.json
    words.txt  class_names.txt  word_vectors.npz
"""

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from ..flickr30k_files import CAPTIONS_PER_IMAGE, FOLDERS, NOT_VISUAL
from ..relation_file import RelationFile, count_predicates
from .base_format import BaseFormat, ShapesImage, mask_box
from .captions import PHRASE_TYPES, PREDICATES, Caption, Mention, capitalised, write_captions
from .categories import DESCRIPTION
from .coco_format import COCOFormat
from .word_files import write_word_files

FOLDER = 'flickr30k'


class Flickr30kFormat(BaseFormat):
    """Writes captions, boxes, relations, and vectors of words."""

    name = 'flickr30k'
    splits = ('train', 'val', 'test')
    companions = (COCOFormat.name,)

    def prepare(self, split: str, root: Path) -> None:
        """Make the folders."""
        for folder in (FOLDERS['sentences'], FOLDERS['boxes']):
            (root / FOLDER / folder).mkdir(parents=True, exist_ok=True)

    def write_image(self, image: ShapesImage, root: Path) -> dict:
        """Write the captions and boxes of one image.

        Returns:
            ``name`` (of the image), ``captions`` (relations of each: subject, object, predicate,
            and whether both have boxes) and ``counts``.
        """
        name = f'{image.image_id:012d}'
        captions = write_captions(image.describer, image.rng(self.name), CAPTIONS_PER_IMAGE)
        # What is mentioned several times is one chain.
        chains: dict[tuple[int, ...], str] = {}
        for caption in captions:
            for mention in caption.mentions:
                if mention.regions and mention.regions not in chains:
                    chains[mention.regions] = str(1000 * image.image_id + len(chains) + 1)
        folder = root / FOLDER
        lines = [_mark(caption, chains) for caption in captions]
        (folder / FOLDERS['sentences'] / f'{name}.txt').write_text('\n'.join(lines) + '\n')
        tree = _annotation(image, name, chains)
        ElementTree.ElementTree(tree).write(folder / FOLDERS['boxes'] / f'{name}.xml')
        return dict(
            name=name,
            captions=[
                [
                    (subject, object_, predicate, _are_boxed(caption, subject, object_))
                    for subject, object_, predicate in caption.relations
                ]
                for caption in captions
            ],
            counts=_count(image, captions),
        )

    def write(self, records: dict[str, list[dict]], root: Path) -> None:
        """Write the lists of the splits, the relations of all, and the files about words."""
        for split, own in records.items():
            names = '\n'.join(record['name'] for record in own)
            (root / FOLDER / f'{split}.txt').write_text(names + '\n')
        # Of relations to stuff, which has no box, there is nothing to learn by default.
        train = [
            [relation for relation in caption if relation[3]]
            for record in records['train']
            for caption in record['captions']
        ]
        occurring = {predicate for caption in train for _, _, predicate, _ in caption}
        predicates = [predicate for predicate in PREDICATES if predicate in occurring]

        def entries(caption: list[tuple]) -> list[list]:
            return [
                [subject, object_, [predicates.index(name)] if name in occurring else [], name]
                for subject, object_, name, _ in caption
            ]

        RelationFile(
            predicates=predicates,
            counts=count_predicates(map(entries, train), len(predicates)),
            relations={
                record['name']: [entries(caption) for caption in record['captions']]
                for own in records.values()
                for record in own
            },
            info=dict(description=DESCRIPTION),
        ).save(str(root / FOLDER / 'relations.json'))
        write_word_files(root)

    def summarize(self, records: list[dict]) -> dict[str, int | float]:
        """Sizes, and the shares of phrases of things by what it takes to understand them."""
        counts = sum((record['counts'] for record in records), Counter())
        things = max(sum(counts[kind] for kind in PHRASE_TYPES), 1)
        return dict(
            images=len(records),
            captions=counts['captions'],
            boxed_phrases=sum(counts[kind] for kind in PHRASE_TYPES),
            phrases_per_caption=round(things / max(counts['captions'], 1), 2),
            relations_per_caption=round(counts['relations'] / max(counts['captions'], 1), 2),
            **{f'{kind}_share': round(counts[kind] / things, 3) for kind in PHRASE_TYPES},
            shared_kind_share=round(counts['shared_kind'] / things, 3),
        )


def _are_boxed(caption: Caption, *mentions: int) -> bool:
    return all(caption.mentions[mention].type in PHRASE_TYPES for mention in mentions)


def _mark(caption: Caption, chains: dict[tuple[int, ...], str]) -> str:
    """A line of a file of sentences."""
    words = []
    for index, piece in enumerate(caption.pieces):
        text = piece.text if isinstance(piece, Mention) else piece
        text = text if index else capitalised(text)
        if isinstance(piece, Mention):
            chain = chains[piece.regions] if piece.regions else NOT_VISUAL
            text = f'[/EN#{chain}/{piece.type} {text}]'
        words.append(text)
    return ' '.join(words)


def _annotation(
    image: ShapesImage, name: str, chains: dict[tuple[int, ...], str]
) -> ElementTree.Element:
    """A file of boxes. As in the real files, coordinates count from 1."""
    height, width = image.rendering.regions.shape
    root = ElementTree.Element('annotation')
    _add(root, 'filename', f'{name}.jpg')
    _add(root, 'source', DESCRIPTION)
    size = _add(root, 'size')
    for side, length in (('width', width), ('height', height), ('depth', 3)):
        _add(size, side, length)
    for region in sorted({region for regions in chains for region in regions}):
        entry = _add(root, 'object')
        for regions, chain in chains.items():
            if region in regions:
                _add(entry, 'name', chain)
        if image.scene.is_thing(region):
            x, y, box_width, box_height = mask_box(image.mask(region))
            box = _add(entry, 'bndbox')
            sides = dict(xmin=x, ymin=y, xmax=x + box_width, ymax=y + box_height)
            for side, place in sides.items():
                _add(box, side, place + 1)
        else:
            _add(entry, 'scene', 1)
            _add(entry, 'nobndbox', 0)
    return root


def _add(parent: ElementTree.Element, tag: str, content: str | int = '') -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag)
    child.text = str(content) or None
    return child


def _count(image: ShapesImage, captions: list[Caption]) -> Counter:
    counts = Counter(captions=len(captions))
    kinds = Counter(thing.kind for thing in image.scene.things)
    for caption in captions:
        counts['relations'] += len(caption.relations)
        for mention in caption.mentions:
            counts[mention.type] += 1
            if mention.type in PHRASE_TYPES:
                kind = image.scene.regions[mention.regions[0]].kind
                counts['shared_kind'] += kinds[kind] > len(mention.regions)
    return counts
