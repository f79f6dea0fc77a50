import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from mmground.datasets.grounding_shapes.generation import generate
from mmground.datasets.grounding_shapes.lexicon import STUFF, THINGS
from mmground.datasets.grounding_shapes.png_format import CATEGORIES, PNGFormat

COUNTS = dict(train=12, val=5)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    generate(folder, ['png'], COUNTS, size=96, seed=4)
    return folder


def load(root, name):
    return json.loads((root / 'annotations' / name).read_text())


def test_categories():
    assert [c['name'] for c in CATEGORIES if c['isthing']] == list(THINGS)
    assert [c['name'] for c in CATEGORIES if not c['isthing']] == list(STUFF)
    assert len({c['id'] for c in CATEGORIES}) == len(CATEGORIES)
    assert all(set(c) == {'id', 'name', 'supercategory', 'isthing'} for c in CATEGORIES)


@pytest.mark.parametrize('split', COUNTS)
def test_panoptic_files(root, split):
    panoptic = load(root, f'panoptic_{split}2017.json')
    assert panoptic['categories'] == list(CATEGORIES)
    images = {image['id']: image for image in panoptic['images']}
    assert len(images) == len(panoptic['annotations']) == COUNTS[split]
    categories = {category['id']: category for category in panoptic['categories']}
    for annotation in panoptic['annotations']:
        image = images[annotation['image_id']]
        assert type(annotation['image_id']) is int
        assert image['file_name'] == f'{annotation["image_id"]:012d}.jpg'
        assert annotation['file_name'] == f'{annotation["image_id"]:012d}.png'
        picture = Image.open(root / 'images' / f'{split}2017' / image['file_name'])
        assert picture.size == (image['width'], image['height']) == (96, 96)
        assert picture.mode == 'RGB'
        path = root / 'annotations/panoptic_segmentation' / f'{split}2017'
        png = Image.open(path / annotation['file_name'])
        assert png.mode == 'RGB'
        ids = np.asarray(png).astype(np.int64) @ [1, 256, 65536]
        segments = {segment['id']: segment for segment in annotation['segments_info']}
        assert set(np.unique(ids)) == set(segments), 'a pixel without segment, or the reverse'
        assert min(segments) > 255 and max(segments) < 2**24
        for number, segment in segments.items():
            assert set(segment) == {'id', 'category_id', 'area', 'bbox', 'iscrowd'}
            assert segment['category_id'] in categories and segment['iscrowd'] == 0
            mask = ids == number
            xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
            assert segment['area'] == mask.sum()
            assert segment['bbox'] == [xs[0], ys[0], np.ptp(xs) + 1, np.ptp(ys) + 1]
        stuff = [
            s['category_id']
            for s in segments.values()
            if not categories[s['category_id']]['isthing']
        ]
        assert 2 <= len(stuff) == len(set(stuff)), 'stuff of a kind is one segment'
    files = list((root / 'annotations/panoptic_segmentation' / f'{split}2017').iterdir())
    assert len(files) == COUNTS[split]


@pytest.mark.parametrize('split', COUNTS)
def test_narratives(root, split):
    panoptic = load(root, f'panoptic_{split}2017.json')
    known = {
        str(annotation['image_id']): {str(s['id']) for s in annotation['segments_info']}
        for annotation in panoptic['annotations']
    }
    narratives = load(root, f'png_coco_{split}2017.json')
    assert {narrative['image_id'] for narrative in narratives} == set(known)
    for narrative in narratives:
        assert set(narrative) == {'annotator_id', 'image_id', 'caption', 'segments'}
        assert type(narrative['image_id']) is str and type(narrative['annotator_id']) is int
        grounded = 0
        for chunk in narrative['segments']:
            assert set(chunk) == {'utterance', 'segment_ids', 'noun', 'plural'}
            assert type(chunk['noun']) is bool and type(chunk['plural']) is bool
            assert chunk['utterance'] == chunk['utterance'].strip().lower()
            assert all(type(number) is str for number in chunk['segment_ids'])
            assert set(chunk['segment_ids']) <= known[narrative['image_id']]
            assert len(set(chunk['segment_ids'])) == len(chunk['segment_ids'])
            assert chunk['plural'] == (len(chunk['segment_ids']) > 1)
            grounded += bool(chunk['segment_ids'])
            assert chunk['noun'] or not chunk['segment_ids']
        assert 3 <= grounded <= 8
        utterances = ''.join(chunk['utterance'] for chunk in narrative['segments'])
        assert utterances.replace(' ', '') == narrative['caption'].lower().replace(' ', '')
    texts = [(narrative['image_id'], narrative['caption']) for narrative in narratives]
    assert len(set(texts)) == len(texts)
    per_image = Counter(image for image, _ in texts)
    assert max(per_image.values()) <= 3


def test_splits_share_nothing(root):
    files = {split: set((root / 'images' / f'{split}2017').iterdir()) for split in COUNTS}
    contents = {split: {path.read_bytes() for path in paths} for split, paths in files.items()}
    names = {split: {path.name for path in paths} for split, paths in files.items()}
    assert [len(contents[split]) for split in COUNTS] == list(COUNTS.values())
    assert not contents['train'] & contents['val'] and not names['train'] & names['val']


def test_summary_counts_the_files(root):
    summary = json.loads((root / 'shapes.json').read_text())['summary']['png']['train']
    panoptic = load(root, 'panoptic_train2017.json')
    things = {c['id'] for c in CATEGORIES if c['isthing']}
    kinds = {
        (str(annotation['image_id']), str(segment['id'])): segment['category_id']
        for annotation in panoptic['annotations']
        for segment in annotation['segments_info']
    }
    per_image = Counter((image, category) for (image, _), category in kinds.items())
    counts = Counter()
    narratives = load(root, 'png_coco_train2017.json')
    for narrative in narratives:
        for chunk in narrative['segments']:
            if not chunk['segment_ids']:
                continue
            image = narrative['image_id']
            named = {kinds[image, number] for number in chunk['segment_ids']}
            counts['phrases'] += 1
            counts['plurals'] += len(chunk['segment_ids']) > 1
            if named <= things:
                counts['things'] += 1
                counts['unique'] += len(named) == 1 and per_image[image, next(iter(named))] == len(
                    chunk['segment_ids']
                )
    assert summary['images'] == COUNTS['train'] and summary['narratives'] == len(narratives)
    assert summary['grounded_phrases'] == counts['phrases']
    for name, share in (
        ('thing_share', counts['things'] / counts['phrases']),
        ('stuff_share', 1 - counts['things'] / counts['phrases']),
        ('plural_share', counts['plurals'] / counts['phrases']),
        ('unique_kind_share', counts['unique'] / counts['things']),
    ):
        assert summary[name] == pytest.approx(share, abs=6e-4)


def test_summary_of_nothing_is_no_error():
    assert PNGFormat().summarize([])['grounded_phrases'] == 0
