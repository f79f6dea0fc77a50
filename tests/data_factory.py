"""Tiny data sets in the benchmarks' own file formats, written by hand for the tests."""

import io
import json
import pickle
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from mmground.datasets.proposal_store import ProposalWriter
from mmground.structures import decode_mask, encode_masks

# Segment id -> (category, x1, y1, x2, y2); later ones lie on top. The ids need all
# three channels of a panoptic PNG.
PNG_IMAGES = {
    139: dict(
        size=(24, 32),
        segments={
            12345678: (3, 0, 11, 32, 24),
            70000: (1, 2, 2, 10, 10),
            9474192: (2, 2, 12, 9, 20),
            131843: (2, 12, 12, 20, 20),
        },
    ),
    285: dict(size=(20, 30), segments={3165766: (3, 0, 0, 30, 20), 65537: (2, 5, 5, 12, 15)}),
    632: dict(size=(18, 18), segments={255: (4, 0, 0, 18, 9)}),
}

PNG_CATEGORIES = [
    dict(id=1, name='person', isthing=1, supercategory='person'),
    dict(id=2, name='animal', isthing=1, supercategory='animal'),
    dict(id=3, name='plant', isthing=0, supercategory='plant'),
    dict(id=4, name='wall', isthing=0, supercategory='wall'),
]


def _utterance(text, *segment_ids, noun=None, plural=False):
    return dict(
        utterance=text,
        segment_ids=[str(segment_id) for segment_id in segment_ids],
        plural=plural,
        noun=bool(segment_ids) if noun is None else noun,
    )


def png_narratives() -> list[dict]:
    """Capitals, double spaces, n't, plurals, an ungrounded noun, adjacent phrases, umlauts."""
    return [
        dict(
            image_id='139',
            annotator_id=36,
            caption="In this  picture, a Man walks two Dogs on green grass. They don't see a car.",
            segments=[
                _utterance('in this'),
                _utterance('picture', noun=True),
                _utterance(', a'),
                _utterance('man', 70000),
                _utterance('walks'),
                # The flag is wrong on purpose: two ids make a plural.
                _utterance('two dogs', 9474192, 131843, plural=False),
                _utterance('on'),
                _utterance('green grass', 12345678, plural=True),
                _utterance(". they don't see"),
                _utterance('a car', noun=True),
                _utterance('.'),
            ],
        ),
        dict(
            image_id='285',
            annotator_id=1,
            caption='Ein süßer CAFÉ Cat tree.',
            segments=[
                _utterance('ein süßer'),
                _utterance('café cat', 65537),
                _utterance('tree', 3165766),
                _utterance('.'),
            ],
        ),
        dict(
            image_id='139',
            annotator_id=2,
            caption='Two dogs.',
            segments=[_utterance('two dogs', 131843, 9474192), _utterance('.')],
        ),
        dict(
            image_id='632',
            annotator_id=2,
            caption='There is a man.',
            segments=[_utterance('there is'), _utterance('a man', noun=True), _utterance('.')],
        ),
        dict(
            image_id='632',
            annotator_id=2,
            caption='A wall.',
            segments=[_utterance('a wall', 255), _utterance('.')],
        ),
        # The utterances have a word that the caption has not.
        dict(
            image_id='285',
            annotator_id=2,
            caption='The cat is on the tree.',
            segments=[
                _utterance('the cat', 65537),
                _utterance('is sitting'),
                _utterance('on'),
                _utterance('the tree', 3165766),
                _utterance('.'),
            ],
        ),
        # Segments of what is no noun do not count.
        dict(
            image_id='139',
            annotator_id=2,
            caption='It walks on grass.',
            segments=[
                _utterance('it', 70000, noun=False),
                _utterance('walks on'),
                _utterance('grass', 12345678),
                _utterance('.'),
            ],
        ),
    ]


def png_segment_map(image_id: int) -> np.ndarray:
    """The ids of an image's segments, int64, shape (H, W), 0 where there is none."""
    image = PNG_IMAGES[image_id]
    segment_map = np.zeros(image['size'], dtype=np.int64)
    for segment_id, (_, x1, y1, x2, y2) in image['segments'].items():
        segment_map[y1:y2, x1:x2] = segment_id
    return segment_map


def _png_panoptic() -> dict:
    images, annotations = [], []
    for image_id, image in PNG_IMAGES.items():
        height, width = image['size']
        images.append(
            dict(id=image_id, file_name=f'{image_id:012d}.png', height=height, width=width)
        )
        segment_map = png_segment_map(image_id)
        annotations.append(
            dict(
                image_id=image_id,
                file_name=f'{image_id:012d}.png',
                segments_info=[
                    dict(
                        id=segment_id,
                        category_id=category,
                        iscrowd=0,
                        bbox=[x1, y1, x2 - x1, y2 - y1],
                        area=int((segment_map == segment_id).sum()),
                    )
                    for segment_id, (category, x1, y1, x2, y2) in image['segments'].items()
                ],
            )
        )
    return dict(info={}, images=images, annotations=annotations, categories=PNG_CATEGORIES)


def write_png_dataset(root: Path) -> dict:
    """Write a panoptic narrative grounding data set of seven narratives on three images.

    Returns:
        The arguments with which ``PNGDataset`` reads it.
    """
    rng = np.random.default_rng(0)
    images = root / 'images/val2017'
    panoptic = root / 'annotations/panoptic_segmentation/val2017'
    images.mkdir(parents=True)
    panoptic.mkdir(parents=True)
    for image_id, image in PNG_IMAGES.items():
        pixels = rng.integers(0, 256, (*image['size'], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f'{image_id:012d}.png')
        segment_map = png_segment_map(image_id)
        rgb = np.stack([segment_map >> shift & 255 for shift in (0, 8, 16)], axis=-1)
        Image.fromarray(rgb.astype(np.uint8)).save(panoptic / f'{image_id:012d}.png')
    arguments = dict(
        data_root=str(root),
        ann_file='annotations/png_coco_val2017.json',
        panoptic_ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(
            img_path='images/val2017', seg_map_path='annotations/panoptic_segmentation/val2017'
        ),
    )
    (root / arguments['ann_file']).write_text(json.dumps(png_narratives()))
    (root / arguments['panoptic_ann_file']).write_text(json.dumps(_png_panoptic()))
    return arguments


def write_vocab(path: Path) -> str:
    """Write a small WordPiece vocabulary in which words of the narratives split."""
    words = (
        '[PAD] [UNK] [CLS] [SEP] [MASK] in this picture , a man walk ##s two dog on green '
        "grass . they don do ' t see car ein suß ##er cafe cat tree there is wall the it"
    )
    path.write_text('\n'.join(words.split()) + '\n', encoding='utf-8')
    return str(path)


def write_json_dataset(root: Path) -> dict:
    """Write a data set of two entries with every kind of annotation of one's own data.

    Returns:
        The arguments with which ``GroundingJsonDataset`` reads it.
    """
    rng = np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (root / folder).mkdir(parents=True)
    for name, size in (('park', (24, 32)), ('blue', (20, 30))):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / 'images' / f'{name}.png')
    whole = (root / 'images' / 'park.png').read_bytes()
    (root / 'images' / 'broken.png').write_bytes(whole[: len(whole) // 2])

    def draw(name, x1, y1, x2, y2, mode):
        mask = np.zeros((24, 32), np.uint8)
        mask[y1:y2, x1:x2] = 1
        picture = Image.fromarray(mask * 255)
        if mode == 'RGBA':  # opaque everywhere: alpha is no mask
            picture = picture.convert('RGBA')
        elif mode == 'P':
            picture = Image.fromarray(mask).convert('P')
        picture.save(root / 'masks' / f'{name}.png')

    draw('dog', 20, 10, 26, 16, 'RGBA')
    draw('other_dog', 27, 10, 31, 16, 'L')
    draw('grass', 0, 20, 32, 24, 'P')
    draw('empty', 0, 0, 0, 0, 'L')
    frisbee = [8 * 24 + 3, 2, 22, 2, 22, 2]  # columns 8 to 10, rows 3 and 4
    frisbee.append(24 * 32 - sum(frisbee))
    entries = [
        dict(
            image='park.png',
            text='A man throws a red frisbee to two dogs on grass, a man.',
            phrases=[
                dict(text='A man', regions=[0]),
                dict(span=[13, 26], regions=[1]),
                dict(text='Two  dogs', regions=[2, 3]),
                dict(text='grass', span=[42, 47], regions=[4]),
                dict(text='a man', regions=[0]),
            ],
            regions=[
                dict(mask=[[1, 2, 6, 2, 6, 20, 1, 20]], category='person'),
                dict(mask=dict(size=[24, 32], counts=frisbee), category='frisbee'),
                dict(mask='dog.png', category='dog'),
                dict(mask='other_dog.png', category='dog', bbox=[26.5, 10, 31, 16]),
                dict(mask='grass.png', category='grass', is_thing=False),
            ],
        ),
        dict(
            image='blue.png',
            image_id=7,
            id='blue',
            height=20,
            width=30,
            text='something blue',
            phrases=[dict(text='something blue', regions=[0])],
            regions=[dict(bbox=[1.5, 2, 9, 12])],
        ),
    ]
    (root / 'grounding.json').write_text(json.dumps(entries))
    return dict(
        data_root=str(root),
        ann_file='grounding.json',
        data_prefix=dict(img_path='images', mask_path='masks'),
    )


REFER_IMAGES = {
    # image id -> (height, width)
    11: (24, 32),
    12: (20, 30),
    13: (30, 20),
    14: (18, 18),
    15: (16, 40),
    16: (16, 16),
}
REFER_CATEGORIES = [
    dict(id=1, name='person', supercategory='person'),
    dict(id=18, name='dog', supercategory='animal'),
]


def rectangle(x: float, y: float, width: float, height: float) -> list[float]:
    """A polygon."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def _annotation(id_, image_id, category_id, *rectangles):
    x1, y1 = (min(r[i] for r in rectangles) for i in (0, 1))
    x2, y2 = (max(r[i] + r[i + 2] for r in rectangles) for i in (0, 1))
    return dict(
        id=id_,
        image_id=image_id,
        category_id=category_id,
        bbox=[x1, y1, x2 - x1, y2 - y1],
        area=sum(r[2] * r[3] for r in rectangles),
        iscrowd=0,
        segmentation=[rectangle(*r) for r in rectangles],
    )


def refer_annotations() -> list[dict]:
    """Annotations of RefCOCO's form; the second has two polygons, 107 is referred by none."""
    return [
        _annotation(101, 11, 1, (2.5, 3.25, 10.0, 12.5)),
        _annotation(102, 11, 18, (16, 4, 4, 8), (24, 4, 6.5, 8)),
        _annotation(103, 12, 1, (1, 1, 20, 15)),
        _annotation(104, 13, 1, (3, 3, 10, 20)),
        _annotation(105, 14, 18, (4, 4, 6, 6)),
        _annotation(106, 15, 18, (10, 2, 20, 10)),
        _annotation(107, 15, 1, (1, 1, 3, 3)),
        _annotation(108, 16, 1, (1, 1, 8, 12)),
    ]


def refer_entry(ref_id, ann_id, image_id, split, *texts):
    sentences = [
        dict(
            sent_id=10 * ref_id + i,
            raw=text.upper() + '.',
            sent=text,
            tokens=text.split(),
        )
        for i, text in enumerate(texts)
    ]
    return dict(
        ref_id=ref_id,
        ann_id=ann_id,
        image_id=image_id,
        category_id=1,
        split=split,
        # Not the name of a file.
        file_name=f'COCO_train2014_{image_id:012d}_{ref_id}.jpg',
        sent_ids=[sentence['sent_id'] for sentence in sentences],
        sentences=sentences,
    )


def refcoco_refs() -> list[dict]:
    """References of RefCOCO's splits, those of an image apart from each other."""
    return [
        refer_entry(1, 101, 11, 'train', 'the left man', 'guy near dogs'),
        refer_entry(2, 103, 12, 'train', 'woman in a café'),
        refer_entry(3, 102, 11, 'train', 'two-part dog on the right', 'dog', 'right'),
        refer_entry(4, 104, 13, 'val', 'tall person'),
        refer_entry(5, 108, 16, 'testA', 'the person', 'standing one'),
        refer_entry(6, 105, 14, 'testB', 'the dog'),
    ]


def refcocog_refs() -> list[dict]:
    """References of RefCOCOg's splits; an image of training is one of RefCOCO's val."""
    return [
        refer_entry(1, 104, 13, 'train', 'a person who stands in front of a wall'),
        refer_entry(2, 106, 15, 'train', 'a dog that lies on the floor'),
        refer_entry(3, 103, 12, 'val', 'a woman who reads'),
        refer_entry(4, 105, 14, 'test', 'a dog which looks to the left'),
    ]


class _Python2Pickler(pickle._Pickler):
    """Writes text as Python 2 wrote its str: bytes, of UTF-8."""

    dispatch: ClassVar[dict] = {**pickle._Pickler.dispatch}

    def _save_str(self, text):
        data = text.encode()
        self.write(b'T' + struct.pack('<i', len(data)) + data)
        self.memoize(text)

    dispatch[str] = _save_str


def python2_pickle(content) -> bytes:
    """The pickle that Python 2 would have written."""
    stream = io.BytesIO()
    _Python2Pickler(stream, protocol=2).dump(content)
    return stream.getvalue()


def write_refer_dataset(root: Path) -> str:
    """Write RefCOCO and RefCOCOg of a few images in the refer API's layout.

    Returns:
        The data root.
    """
    images = root / 'images/mscoco/images/train2014'
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for image_id, size in REFER_IMAGES.items():
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f'COCO_train2014_{image_id:012d}.png')
    instances = dict(
        info=dict(description='refer'),
        images=[
            dict(id=image_id, file_name=f'COCO_train2014_{image_id:012d}.png', height=h, width=w)
            for image_id, (h, w) in REFER_IMAGES.items()
        ],
        annotations=refer_annotations(),
        categories=REFER_CATEGORIES,
    )
    for folder, name, refs in (
        ('refcoco', 'refs(unc).p', refcoco_refs()),
        ('refcocog', 'refs(umd).p', refcocog_refs()),
    ):
        (root / folder).mkdir()
        (root / folder / 'instances.json').write_text(json.dumps(instances))
        (root / folder / name).write_bytes(python2_pickle(refs))
    return str(root)


def write_referit_dataset(root: Path) -> str:
    """Write ReferItGame of the images of :func:`write_refer_dataset`, its masks run-length codes.

    Returns:
        The data root.
    """
    write_refer_dataset(root)
    content = json.loads((root / 'refcoco/instances.json').read_text())
    sizes = {image['id']: (image['height'], image['width']) for image in content['images']}
    for annotation in content['annotations']:
        mask = decode_mask(annotation['segmentation'], sizes[annotation['image_id']])
        annotation['segmentation'] = encode_masks(mask[None])
    refs = [
        refer_entry(1, 101, 11, 'train', 'left man', 'guy'),
        refer_entry(2, 103, 12, 'val', 'woman'),
        refer_entry(3, 104, 13, 'test', 'tall person', 'man'),
    ]
    (root / 'refclef').mkdir()
    (root / 'refclef/instances.json').write_text(json.dumps(content))
    (root / 'refclef/refs(berkeley).p').write_bytes(python2_pickle(refs))
    images = root / 'images/saiapr_tc-12'
    (root / 'images/mscoco/images/train2014').rename(images)
    return str(root)


FLICKR_SENTENCES = {
    '1000': [
        '[/EN#11/people Two young guys] with [/EN#12/bodyparts shaggy hair] look at '
        '[/EN#0/notvisual it] in [/EN#14/scene the yard] .',
        '[/EN#11/people Two men] near [/EN#15/other/vehicles a cart ] stand by '
        '[/EN#11/people them] .',
        'It is [/EN#14/scene a green yard] .',
        '[/EN#16/people One] holds [/EN#17/other a rope] over [/EN#99/other a pit] .',
        'No phrase here ] .',
    ],
    '36979': ['[/EN#21/animals A dog] runs .', '[/EN#22/other  A   ball] .'],
}
"""Several types, a space before the bracket, double spaces, chains without boxes or entry."""


def flickr_box(names, *sides):
    """An object of a file of boxes; sides xmin, ymin, xmax, ymax, or flags."""
    content = ''.join(f'<name>{name}</name>' for name in names)
    if len(sides) == 4:
        tags = zip(('xmin', 'ymin', 'xmax', 'ymax'), sides, strict=True)
        box = ''.join(f'<{tag}>{side}</{tag}>' for tag, side in tags)
        return f'<object>{content}<bndbox>{box}</bndbox></object>'
    scene, no_box = sides
    flags = f'<scene>{scene}</scene><nobndbox>{no_box}</nobndbox>'
    return f'<object>{content}{flags}</object>'


FLICKR_OBJECTS = {
    '1000': [
        flickr_box(['11', '16'], 3, 4, 13, 24),
        flickr_box(['11'], 10, 2, 31, 20),
        flickr_box(['12'], 5, 4, 9, 8),
        flickr_box(['12'], 5, 4, 5, 8),  # without area
        flickr_box(['14'], 1, 0),
        flickr_box(['15'], 0, 1),
        flickr_box(['17'], 1, 2, 10, 3),
    ],
    '36979': [flickr_box(['21'], 2, 2, 12, 12), flickr_box(['22'], 1, 1)],
}


def flickr_xml(img_id, height=24, width=32, objects=None):
    """A file of boxes."""
    objects = FLICKR_OBJECTS[img_id] if objects is None else objects
    size = f'<size><width>{width}</width><height>{height}</height><depth>3</depth></size>'
    return f'<annotation><filename>{img_id}.jpg</filename>{size}{"".join(objects)}</annotation>'


def write_flickr30k_dataset(root: Path) -> str:
    """Write Flickr30k Entities of two images, one in train, one in val and test.

    Returns:
        The data root.
    """
    rng = np.random.default_rng(0)
    for folder in ('Sentences', 'Annotations', 'flickr30k-images'):
        (root / folder).mkdir(parents=True)
    for img_id, lines in FLICKR_SENTENCES.items():
        (root / 'Sentences' / f'{img_id}.txt').write_text('\n'.join(lines) + '\n\n')
        (root / 'Annotations' / f'{img_id}.xml').write_text(flickr_xml(img_id))
        pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / 'flickr30k-images' / f'{img_id}.jpg')
    for split, img_id in (('train', '1000'), ('val', '36979'), ('test', '36979')):
        (root / f'{split}.txt').write_text(f'{img_id}\n')
    return str(root)


def flickr_relations() -> dict:
    """Relations of these captions: a category, two, none, and phrases that are dropped."""
    return dict(
        info={},
        predicates=['with', 'near', 'by'],
        counts=[3, 2, 1],
        relations={
            '1000': [
                [[0, 1, [0], 'with'], [0, 3, [1], 'in']],
                [[0, 2, [2, 1], 'stand by'], [2, 0, [], 'wave at']],
                [],
                [[0, 1, [], 'holds']],
                [],
            ],
            '36979': [[], []],
        },
    )


def write_proposals(path: Path, img_ids, size=(24, 32), num=8) -> str:
    """Write a store of proposals, of two categories, of images of the same size (height, width).

    Returns:
        The path.
    """
    rng = np.random.default_rng(0)
    limits = np.array(size[::-1])
    with ProposalWriter(path, dict(detector='d', classes=['man', 'hair'], config_hash='h')) as file:
        for img_id in img_ids:
            first, second = rng.uniform(0, 0.5, (2, num, 2))
            boxes = np.hstack((first, first + 0.3 + second / 3)) * np.tile(limits, 2)
            # So close that one learns from the other.
            boxes[1] = boxes[0] + [0.5, 0, 0.5, 0.25]
            own = dict(
                boxes=boxes.astype(np.float32),
                labels=np.arange(num) % 2,
                scores=np.linspace(0.9, 0.1, num, dtype=np.float32),
            )
            file.add([(str(img_id), own)])
    return str(path)
