import json
import pickle
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from mmground.datasets.grounding_shapes.expressions import FLAVOURS, TYPES
from mmground.datasets.grounding_shapes.generation import generate
from mmground.datasets.grounding_shapes.lexicon import THINGS
from mmground.datasets.grounding_shapes.refcoco_format import (
    TEST_A_KINDS,
    TEST_KINDS,
    RefCOCOFormat,
)
from mmground.structures import decode_mask
from mmground.utils.numpy_pickle import read_numpy_pickle

COUNTS = dict(train=14, val=5, test=12)
SPLITS = {
    'refcoco': {'train', 'val', 'testA', 'testB'},
    'refcoco+': {'train', 'val', 'testA', 'testB'},
    'refcocog': {'train', 'val', 'test'},
}
FILES = {'refcoco': 'refs(unc).p', 'refcoco+': 'refs(unc).p', 'refcocog': 'refs(umd).p'}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    generate(folder, list(FILES), COUNTS, size=96, seed=4)
    return folder


def load(root, name):
    instances = json.loads((root / name / 'instances.json').read_text())
    return instances, read_numpy_pickle(str(root / name / FILES[name]))


@pytest.mark.parametrize('name', FILES)
def test_refs_file(root, name):
    instances, refs = load(root, name)
    images = {image['id']: image for image in instances['images']}
    annotations = {annotation['id']: annotation for annotation in instances['annotations']}
    sent_ids, seen = [], set()
    for number, ref in enumerate(refs):
        assert set(ref) == {
            'ref_id', 'ann_id', 'image_id', 'category_id', 'split', 'file_name', 'sent_ids',
            'sentences',
        }  # fmt: skip
        assert ref['ref_id'] == number and ref['ann_id'] not in seen
        seen.add(ref['ann_id'])
        annotation, image = annotations[ref['ann_id']], images[ref['image_id']]
        assert annotation['image_id'] == ref['image_id']
        assert annotation['category_id'] == ref['category_id']
        # As in the real files, the name has a number more than the image's, and is no file.
        assert ref['file_name'].startswith(image['file_name'].removesuffix('.jpg') + '_')
        assert not (root / 'images' / ref['file_name']).exists()
        assert ref['sent_ids'] == [sentence['sent_id'] for sentence in ref['sentences']]
        assert ref['sentences']
        for sentence in ref['sentences']:
            assert set(sentence) == {'raw', 'sent', 'sent_id', 'tokens', 'type'}
            assert sentence['tokens'] == sentence['sent'].split()
            assert sentence['raw'].lower().rstrip('.') == sentence['sent']
            assert sentence['type'] in TYPES
        sent_ids += ref['sent_ids']
    assert sent_ids == list(range(len(sent_ids)))
    assert set(images) == {ref['image_id'] for ref in refs}, 'an image without refs'
    assert pickle.loads((root / name / FILES[name]).read_bytes()) == refs


@pytest.mark.parametrize('name', FILES)
def test_instances(root, name):
    instances, _ = load(root, name)
    assert [category['name'] for category in instances['categories']] == list(THINGS)
    assert all('isthing' not in category for category in instances['categories'])
    images = {image['id']: image for image in instances['images']}
    assert {annotation['image_id'] for annotation in instances['annotations']} == set(images)
    for image in images.values():
        assert (root / 'images' / image['file_name']).is_file()
    for annotation in instances['annotations']:
        mask = decode_mask(annotation['segmentation'], (96, 96))
        x, y, width, height = annotation['bbox']
        inside = mask[int(y) : int(y + height), int(x) : int(x + width)]
        assert inside.sum() == mask.sum() == annotation['area']
        assert inside[0].any() and inside[-1].any()
        assert inside[:, 0].any() and inside[:, -1].any()


@pytest.mark.parametrize('name', FILES)
def test_splits(root, name):
    instances, refs = load(root, name)
    kinds = {category['id']: category['name'] for category in instances['categories']}
    folders = {image['id']: image['file_name'].split('/')[0] for image in instances['images']}
    splits = {}
    for ref in refs:
        image_split = ref['split'].removesuffix('A').removesuffix('B')
        assert folders[ref['image_id']] == f'{image_split}2017'
        splits.setdefault(ref['image_id'], set()).add(ref['split'])
        if ref['split'] in TEST_KINDS:
            assert kinds[ref['category_id']] in TEST_KINDS[ref['split']]
    assert {split for own in splits.values() for split in own} == SPLITS[name]
    assert all(len(own) == 1 for own in splits.values()), 'an image in two splits'


def test_kinds_of_the_test_splits():
    assert set(THINGS) > TEST_A_KINDS and 2 * len(TEST_A_KINDS) == len(THINGS)
    assert TEST_KINDS['testA'] | TEST_KINDS['testB'] == set(THINGS)


def test_flavours_share_images_but_not_expressions(root):
    contents = {name: load(root, name) for name in FILES}
    for one, other in pairwise(contents.values()):
        images = [{image['id']: image for image in own['images']} for own, _ in (one, other)]
        common = images[0].keys() & images[1].keys()
        assert len(common) > 20 and all(images[0][key] == images[1][key] for key in common)
        masks = [{own['id']: own for own in content['annotations']} for content, _ in (one, other)]
        assert all(masks[0][key] == masks[1][key] for key in masks[0].keys() & masks[1].keys())
        texts = [[s['sent'] for ref in refs for s in ref['sentences']] for _, refs in (one, other)]
        assert texts[0] != texts[1]


def test_detection_files_come_along(root):
    for split in ('train', 'val'):
        detection = json.loads((root / f'annotations/instances_{split}2017.json').read_text())
        assert len(detection['images']) == COUNTS[split]
        for name in FILES:
            ours = {own['id']: own for own in detection['annotations']}
            for annotation in load(root, name)[0]['annotations']:
                if annotation['image_id'] % 10 == detection['images'][0]['id'] % 10:
                    own = dict(ours[annotation['id']])
                    assert len(own.pop('attribute_ids')) == 2
                    assert own == annotation
    assert not (root / 'annotations/instances_test2017.json').exists()


@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize('split', COUNTS)
def test_summary_counts_the_files(root, name, split):
    description = json.loads((root / 'shapes.json').read_text())
    summary = description['summary'][name][split]
    instances, refs = load(root, name)
    refs = [ref for ref in refs if ref['split'].startswith(split)]
    things = Counter(annotation['image_id'] for annotation in instances['annotations'])
    kinds = Counter((own['image_id'], own['category_id']) for own in instances['annotations'])
    texts = [(ref, sentence) for ref in refs for sentence in ref['sentences']]
    assert summary['images'] == COUNTS[split] and summary['refs'] == len(refs)
    assert summary['expressions'] == len(texts)
    types = Counter(sentence['type'] for _, sentence in texts)
    expected = {f'{kind}_share': types[kind] / len(texts) for kind in TYPES}
    expected['unique_kind_share'] = np.mean(
        [kinds[ref['image_id'], ref['category_id']] == 1 for ref, _ in texts]
    )
    expected['random_thing_share'] = np.mean([1 / things[ref['image_id']] for ref, _ in texts])
    most = {
        image: max(len(ref['sentences']) for ref in refs if ref['image_id'] == image)
        for image in {ref['image_id'] for ref in refs}
    }
    expected['majority_thing_share'] = sum(most.values()) / len(texts)
    for key, value in expected.items():
        assert summary[key] == pytest.approx(value, abs=6e-4), key
    words = np.mean([len(sentence['tokens']) for _, sentence in texts])
    assert summary['words_per_expression'] == pytest.approx(words, abs=6e-3)


def test_settings_are_stated(root):
    settings = json.loads((root / 'shapes.json').read_text())['settings']
    assert {name: own['mix'] for name, own in settings.items()} == {
        name: FLAVOURS[name].mix for name in ('refcoco', 'refcoco+', 'refcocog')
    }
    assert settings['refcoco']['test_kinds']['testA'] == sorted(TEST_A_KINDS)
    assert 'test_kinds' not in settings['refcocog']


def test_summary_of_nothing_is_no_error():
    assert RefCOCOFormat().summarize([])['expressions'] == 0
