import json
from collections import Counter

import numpy as np
import pytest

from mmground.datasets import Flickr30kEntitiesDataset
from mmground.datasets.flickr30k_files import read_boxes, read_captions
from mmground.datasets.grounding_shapes import generate
from mmground.datasets.grounding_shapes.captions import PHRASE_TYPES, PREDICATES
from mmground.datasets.grounding_shapes.lexicon import THINGS
from mmground.datasets.word_vectors import WordVectors, read_names

COUNTS = dict(train=8, val=3, test=2)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    generate(folder, ['flickr30k'], COUNTS, size=96, seed=4)
    return folder


def load(root, split, **kwargs):
    return Flickr30kEntitiesDataset(
        ann_file=f'{split}.txt',
        relations='relations.json',
        data_root=str(root / 'flickr30k'),
        data_prefix=dict(img_path=f'../images/{split}2017'),
        pipeline=[dict(type='LoadGroundingImage'), dict(type='PackGroundingInputs')],
        **kwargs,
    )


def test_the_data_set_reads_it(root):
    summary = json.loads((root / 'shapes.json').read_text())['summary']['flickr30k']
    for split, count in COUNTS.items():
        dataset = load(root, split)
        samples = [dataset[i]['data_samples'] for i in range(len(dataset))]
        assert len({sample.img_id for sample in samples}) == count == summary[split]['images']
        assert len(samples) == summary[split]['captions']
        phrases = [phrase for sample in samples for phrase in sample.phrases]
        assert len(phrases) == summary[split]['boxed_phrases']
        types = Counter(phrase['type'] for phrase in phrases)
        for kind in PHRASE_TYPES:
            assert summary[split][f'{kind}_share'] == round(types[kind] / len(phrases), 3)
        assert set(types) <= set(PHRASE_TYPES)
        assert dataset.counts['empty_boxes'] == dataset.counts['unknown_chains'] == 0
    assert set(dataset.metainfo['predicates']) <= set(PREDICATES) - {'on', 'in'}


def test_boxes_are_those_of_the_detection_data(root):
    content = json.loads((root / 'annotations/instances_train2017.json').read_text())
    boxes = {}
    for annotation in content['annotations']:
        x, y, width, height = annotation['bbox']
        boxes.setdefault(f'{annotation["image_id"]:012d}', []).append([x, y, x + width, y + height])
    dataset = load(root, 'train', boxes='all')
    several = 0
    for i in range(len(dataset)):
        record = dataset.get_data_info(i)
        for phrase in range(len(record['phrases'])):
            own = [record['regions'][r]['bbox'] for p, r in record['links'] if p == phrase]
            assert all(list(box) in boxes[record['img_id']] for box in own)
            assert (len(own) > 1) == (record['phrases'][phrase]['type'] == 'plural')
            several += len(own) > 1
    assert several
    (first, *_), (union, *_) = (
        [r for i in range(len(d)) if (r := d.get_data_info(i))['phrases'][0]['type'] == 'plural']
        for d in (dataset, load(root, 'train'))
    )
    of_first = np.array([first['regions'][r]['bbox'] for p, r in first['links'] if p == 0])
    expected = [*of_first[:, :2].min(0), *of_first[:, 2:].max(0)]
    assert list(union['regions'][union['links'][0][1]]['bbox']) == expected


def test_chains_mean_the_same_things(root):
    seen = {}
    for path in (root / 'flickr30k/Sentences').iterdir():
        annotated = read_boxes(str(root / f'flickr30k/Annotations/{path.stem}.xml'))
        captions = read_captions(str(path))
        assert 1 <= len(captions) <= 5
        for phrase in (phrase for caption in captions for phrase in caption.phrases):
            if phrase.types == ('scene',):
                assert phrase.chain in annotated.scene
            elif phrase.chain != '0':
                assert phrase.chain in annotated.boxes
                assert seen.setdefault(phrase.chain, path.stem) == path.stem
    assert seen


def test_relations(root):
    content = json.loads((root / 'flickr30k/relations.json').read_text())
    predicates = content['predicates']
    words = {words for own in content['relations'].values() for c in own for *_, words in c}
    assert {'on', 'in'} & words and len(predicates) > 3
    # Those to stuff go with their phrases, unless these are kept: then they have no category.
    without = []
    for keep in ('boxed', 'visual'):
        dataset = load(root, 'train', keep=keep)
        found = [own for i in range(len(dataset)) for own in dataset.get_data_info(i)['relations']]
        counts = Counter(predicate for relation in found for predicate in relation[2])
        # Each class has an example, or its weight would be infinite.
        assert content['counts'] == [counts[i] for i in range(len(predicates))]
        assert min(content['counts']) > 0 and sum(content['counts']) > 10
        without.append(sum(not relation[2] for relation in found))
    assert without[0] == 0 < without[1]


def test_word_files(root):
    words = (root / 'words.txt').read_text().split()
    vectors = WordVectors.load(str(root / 'word_vectors.npz'))
    assert vectors.words == words
    for path in (root / 'flickr30k/Sentences').iterdir():
        for caption in read_captions(str(path)):
            assert set(caption.text.lower().split()) <= set(words)
    assert read_names(str(root / 'class_names.txt')) == list(THINGS)
    classes, known = vectors.of_names(list(THINGS))
    assert known.all()
    unit = classes / np.linalg.norm(classes, axis=1, keepdims=True)
    # A thing of another kind is not similar at all.
    assert np.allclose(unit @ unit.T, np.eye(len(unit)))
    for kind, names in THINGS.items():
        own, _ = vectors.of([form for forms in names for form in forms])
        similarity = own @ unit.T / np.linalg.norm(own, axis=1, keepdims=True)
        assert (similarity.argmax(1) == list(THINGS).index(kind)).all()
        assert similarity.max(1).min() > 0.6
        assert np.count_nonzero(similarity) == len(own)
