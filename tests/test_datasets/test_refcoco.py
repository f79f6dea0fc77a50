import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from data_factory import (
    REFER_CATEGORIES,
    REFER_IMAGES,
    python2_pickle,
    rectangle,
    refcoco_refs,
    refer_annotations,
    write_refer_dataset,
)
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmground.datasets import RefCocoDataset
from mmground.datasets.refer_api import REFER_SETS, read_refs, resolve_splits
from mmground.datasets.samplers import ContiguousSampler, ImageGroupSampler
from mmground.models.data_preprocessors import GroundingDataPreprocessor
from mmground.registry import DATASETS
from mmground.structures import encode_masks

PIPELINE = [
    dict(type='LoadGroundingImage'),
    dict(type='Letterbox', size=64),
    dict(type='LoadGroundingMasks'),
    dict(type='PackGroundingInputs'),
]


@pytest.fixture
def root(tmp_path):
    return write_refer_dataset(tmp_path)


def load(root, split, name='refcoco', **kwargs):
    return RefCocoDataset(name=name, split=split, data_root=root, **kwargs)


def records(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def edit_refs(root, change, path='refcoco/refs(unc).p'):
    refs = refcoco_refs()
    replaced = change(refs)
    Path(root, path).write_bytes(python2_pickle(refs if replaced is None else replaced))


def edit_instances(root, change):
    path = Path(root, 'refcoco/instances.json')
    content = json.loads(path.read_text())
    replaced = change(content)
    path.write_text(json.dumps(content if replaced is None else replaced))


def test_a_record_for_each_expression_image_by_image(root):
    dataset = load(root, 'train')
    found = records(dataset)
    assert [record['text'] for record in found] == [
        'the left man', 'guy near dogs', 'two-part dog on the right', 'dog', 'right',
        'woman in a café',
    ]  # fmt: skip
    assert [record['img_id'] for record in found] == ['11'] * 5 + ['12']
    expected = dict(
        sample_id='refcoco_train_3_30',
        dataset='refcoco',
        split='train',
        img_id='11',
        img_path=f'{root}/images/mscoco/images/train2014/COCO_train2014_000000000011.png',
        height=24,
        width=32,
        text='two-part dog on the right',
        phrases=[dict(text='two-part dog on the right', span=(0, 25), type='', phrase_id='0')],
        regions=[
            dict(
                mask=[rectangle(16, 4, 4, 8), rectangle(24, 4, 6.5, 8)],
                bbox=(16, 4, 30.5, 12),
                category_id=18,
            )
        ],
        links=[(0, 0)],
        ref_id=3,
        ann_id=102,
    )
    assert {key: found[2][key] for key in expected} == expected
    assert dataset.metainfo['categories'] == [
        dict(id=category['id'], name=category['name']) for category in REFER_CATEGORIES
    ]
    assert dataset.counts == dict(
        refs=3,
        expressions=6,
        samples=6,
        no_target=0,
        clipped_boxes=0,
        blank_expressions=0,
        held_out_expressions=0,
        unknown_split_refs=0,
    )


def test_all_polygons_make_the_mask(root):
    sample = load(root, 'train', pipeline=PIPELINE)[2]['data_samples']
    expected = np.zeros((24, 32), dtype=bool)
    # A pixel belongs to a polygon that covers more than half of it.
    expected[4:12, 16:20] = expected[4:12, 24:30] = True
    found = sample.gt_regions.masks[0].numpy()
    assert (found != expected)[:, :30].sum() == 0
    assert (sample.dataset, sample.split, sample.ref_id, sample.ann_id) == (
        'refcoco', 'train', 3, 102
    )  # fmt: skip


def test_official_annotations(root):
    found = records(load(root, 'train', official=True))
    assert found[0]['regions'][0]['bbox'] == (2, 3, 12, 15)  # of 2.5, 3.25, 10, 12.5
    assert found[2]['regions'][0]['mask'] == [rectangle(16, 4, 4, 8)]
    assert found[2]['regions'][0]['bbox'] == (16, 4, 30, 12)


def test_official_boxes_are_not_clipped(root):
    path = Path(root) / 'refcoco' / 'instances.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['bbox'] = [-4.5, 3.25, 500.75, 12.5]
    path.write_text(json.dumps(content))
    official, plain = (load(root, 'train', official=flag) for flag in (True, False))
    assert records(official)[0]['regions'][0]['bbox'] == (-4, 3, 496, 15)
    left, _, right, _ = records(plain)[0]['regions'][0]['bbox']
    assert (left, right) == (0, records(plain)[0]['width'])
    assert (official.counts['clipped_boxes'], plain.counts['clipped_boxes']) == (0, 1)


def test_splits_are_named_and_never_merged_silently(root):
    assert [record['split'] for record in records(load(root, 'testA'))] == ['testA'] * 2
    several = load(root, 'held-out')
    assert [record['split'] for record in records(several)] == ['val', 'testA', 'testA', 'testB']
    assert records(load(root, ['val', 'testA', 'testB'])) == records(several)
    with pytest.raises(ValueError, match=r"refcoco has no split 'test'.*testA and testB"):
        load(root, 'test')
    with pytest.raises(ValueError, match=r"refcocog has no split 'testA'.*\['train', 'val', 'test"):
        load(root, 'testA', name='refcocog')
    with pytest.raises(ValueError, match="there is no set 'refcoco_unc'"):
        load(root, 'val', name='refcoco_unc')
    for wrong in ([], ['val', 'val']):
        with pytest.raises(ValueError, match='split must name each split once'):
            load(root, wrong)
    with pytest.raises(ValueError, match='name must name each set once'):
        load(root, 'val', name=['refcoco', 'refcoco'])


@pytest.mark.parametrize('name', REFER_SETS)
def test_the_table_of_sets(name):
    splits = REFER_SETS[name].splits
    assert resolve_splits(name, 'held-out') == list(splits)[1:]
    assert next(iter(splits)) == 'train'


def test_published_totals():
    # Of all splits together, as the documentation of the API has them.
    for name, images, refs, expressions in (
        ('refcoco', 19994, 50000, 142210),
        ('refcoco+', 19992, 49856, 141564),
        ('refcocog', 25799, 49822, 95010),
    ):
        counts = REFER_SETS[name].splits.values()
        assert sum(split.images for split in counts) == images
        assert sum(split.refs for split in counts) == refs
        assert sum(split.expressions for split in counts) == expressions


def test_missing_and_unknown_splits(root):
    edit_refs(root, lambda refs: refs[3].update(split='adv'))
    with pytest.raises(ValueError, match=r'refs\(unc\)\.p: no reference is of split val, only of'):
        load(root, 'val')
    dataset = load(root, 'testA')
    assert dataset.counts['unknown_split_refs'] == 1


def test_google_splits_share_images(root, monkeypatch):
    warned = []
    monkeypatch.setattr(
        'mmground.datasets.refcoco.print_log', lambda text, **_: warned.append(text)
    )
    edit_refs(root, lambda refs: refs[:4], 'refcocog/refs(google).p')
    load(root, 'val', name='refcocog_google')
    assert any('train and val share images' in text for text in warned)


def test_mixed_training_leaves_out_images_of_other_held_out_splits(root):
    names = ['refcoco', 'refcocog']
    dataset = load(root, 'train', name=names)
    assert [(record['dataset'], record['img_id']) for record in records(dataset)] == [
        *[('refcoco', '11')] * 5,  # 12 is in the validation split of RefCOCOg
        ('refcocog', '15'),  # 13 in those of RefCOCO
    ]
    assert dataset.counts['held_out_expressions'] == 2
    ids = [record['sample_id'] for record in records(load(root, 'val', name=names))]
    assert ids == ['refcoco_val_4_40', 'refcocog_val_3_30']
    assert len(load(root, 'held-out', name=names)) == 6


def test_a_sentence_per_object(root):
    dataset = load(
        root,
        'train',
        unit='ref',
        pipeline=[dict(type='DrawSentence'), *PIPELINE],
    )
    assert len(dataset) == 3
    seen = {dataset[1]['data_samples'].text for _ in range(60)}
    assert seen == {'two-part dog on the right', 'dog', 'right'}
    sample = dataset[1]['data_samples']
    assert sample.phrases[0]['text'] == sample.text
    assert sample.phrases[0]['span'] == (0, len(sample.text))
    assert sample.sample_id == 'refcoco_train_3'
    for arguments in (dict(test_mode=True), dict(control='shuffled_text')):
        with pytest.raises(ValueError, match="use unit='expression'"):
            load(root, 'val', unit='ref', **arguments)
    with pytest.raises(ValueError, match='unit must be one of'):
        load(root, 'val', unit='sentence')


def test_types_of_generated_expressions(root):
    edit_refs(root, lambda refs: refs[3]['sentences'][0].update(type='size'))
    assert records(load(root, 'val'))[0]['phrases'][0]['type'] == 'size'


@pytest.mark.parametrize('protocol', range(5))
def test_pickles_of_every_protocol_and_bytes(root, protocol):
    refs = refcoco_refs()
    for ref in refs:
        ref['split'] = ref['split'].encode()
        for sentence in ref['sentences']:
            sentence['sent'] = sentence['sent'].encode('latin-1')
    Path(root, 'refcoco/refs(unc).p').write_bytes(pickle.dumps(refs, protocol))
    assert records(load(root, 'train'))[-1]['text'] == 'woman in a café'


def test_numpy_numbers(root):
    refs = refcoco_refs()
    refs[3].update(ref_id=np.int64(4), image_id=np.int32(13))
    Path(root, 'refcoco/refs(unc).p').write_bytes(pickle.dumps(refs))
    assert records(load(root, 'val'))[0]['sample_id'] == 'refcoco_val_4_40'


class _Call:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def test_code_in_the_pickle_is_not_run(root, tmp_path):
    path, made = Path(root, 'refcoco/refs(unc).p'), tmp_path / 'made'
    path.write_bytes(pickle.dumps([*refcoco_refs(), _Call(os.mkdir, str(made))], 2))
    with pytest.raises(ValueError, match=r'refs\(unc\)\.p holds objects.*mkdir.*download it again'):
        load(root, 'train')
    assert not made.exists()


@pytest.mark.parametrize('content', [b'', b'<html>', python2_pickle(refcoco_refs())[:-300]])
def test_damaged_pickles(root, content):
    Path(root, 'refcoco/refs(unc).p').write_bytes(content)
    with pytest.raises(ValueError, match=r'refs\(unc\)\.p cannot be read'):
        load(root, 'train')


def _without(key, *place):
    def change(refs):
        entry = refs[3]
        for step in place:
            entry = entry[step]
        del entry[key]

    return change


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda _: dict(a=1), 'expected the list of references'),
        (_without('ann_id'), "reference 3 is malformed .there is no 'ann_id'"),
        (_without('split'), "reference 3 is malformed .there is no 'split'"),
        (_without('sentences'), "reference 3 is malformed .there is no 'sentences'"),
        (_without('sent', 'sentences', 0), "reference 3 is malformed .there is no 'sent'"),
        (_without('sent_id', 'sentences', 0), "there is no 'sent_id'"),
        (lambda refs: refs[3].update(sentences=[]), 'reference 3 is malformed .it has no sent'),
        (lambda refs: refs[3].update(image_id='x'), 'reference 3 is malformed'),
        (lambda refs: refs[3]['sentences'][0].update(sent=7), 'reference 3 is malformed .*7'),
        (lambda refs: [*refs[:3], 5, *refs[3:]], 'reference 3 is malformed'),
        (lambda refs: refs[3].update(image_id=99), 'instances.json: there is no image 99'),
        (lambda refs: refs[3].update(ann_id=99), 'there is no annotation 99, to which reference 4'),
        (lambda refs: refs[3].update(ann_id=101), 'there is no annotation 101 of image 13'),
        (lambda refs: refs.append(refs[3]), "sample_id 'refcoco_val_4_40' occurs twice"),
    ],
)
def test_malformed_references(root, change, message):
    edit_refs(root, change)
    with pytest.raises(ValueError, match=message) as caught:
        load(root, 'val')
    assert 'refs(unc).p' in str(caught.value)


def _drop(*place):
    def change(content):
        for step in place[:-1]:
            content = content[step]
        del content[place[-1]]

    return change


def _put(value, *place):
    def change(content):
        for step in place[:-1]:
            content = content[step]
        content[place[-1]] = value

    return change


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda _: [], "there is no list .'annotations', 'categories', 'images'"),
        (_drop('categories'), "there is no list .'categories'"),
        (_drop('images', 1, 'height'), "entry 1 of the list 'images' is malformed"),
        (_drop('annotations', 3, 'bbox'), "entry 3 of the list 'annotations' is malformed .there"),
        (_put([1], 'annotations', 3, 'bbox'), "entry 3 of the list 'annotations' is malformed"),
        (_put('x', 'annotations', 3, 'segmentation'), "entry 3 .* .the segmentation is 'x'"),
        (_put([[1, 2, 3]], 'annotations', 3, 'segmentation'), 'reference 4 .*mask is malformed'),
        (_put([1, 1, 0, 4], 'annotations', 3, 'bbox'), 'reference 4 .*box .* has no area'),
        (_put([21, 1, 5, 4], 'annotations', 3, 'bbox'), 'reference 4 .*box .* has no area'),
    ],
)
def test_malformed_instances(root, change, message):
    edit_instances(root, change)
    with pytest.raises(ValueError, match=message) as caught:
        load(root, 'val')
    assert 'instances.json' in str(caught.value)


def test_truncated_and_missing_files(root):
    path = Path(root, 'refcoco/instances.json')
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r'instances\.json: the annotation file is not valid'):
        load(root, 'val')
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r'instances\.json: the annotation file does not'):
        load(root, 'val')
    Path(root, 'refcoco/refs(unc).p').unlink()
    with pytest.raises(FileNotFoundError, match=r'refs\(unc\)\.p: the file of references does not'):
        load(root, 'val')


def test_missing_image(root):
    dataset = load(root, 'val', pipeline=PIPELINE)
    os.remove(records(dataset)[0]['img_path'])
    with pytest.raises(FileNotFoundError, match=r"13\.png: the image of sample 'refcoco_val_4_40'"):
        dataset[0]


def test_a_box_beyond_the_image_is_clipped_and_counted(root):
    edit_instances(root, _put([-1, 3, 10, 40.5], 'annotations', 3, 'bbox'))
    dataset = load(root, 'val')
    assert records(dataset)[0]['regions'][0]['bbox'] == (0, 3, 9, 30)
    assert dataset.counts['clipped_boxes'] == 1


@pytest.mark.parametrize(
    ('target', 'reason'),
    [
        (dict(ann_id=None), 'it names no annotation'),
        (dict(ann_id=-1), 'it names no annotation'),
        (dict(segmentation=[]), 'has no pixel in the image of 30 x 20'),
        (dict(segmentation=[rectangle(50, 50, 4, 4)]), 'has no pixel in the image'),
    ],
)
def test_expressions_without_target(root, target, reason):
    if 'ann_id' in target:
        edit_refs(root, lambda refs: refs[3].update(target))
    else:
        edit_instances(root, lambda content: content['annotations'][3].update(target))
    with pytest.raises(ValueError, match=rf"reference 4 .*'tall person' has no target: .*{reason}"):
        load(root, 'val')
    dataset = load(root, 'val', allow_no_target=True, pipeline=PIPELINE)
    assert dataset.counts['no_target'] == 1
    sample = dataset[0]['data_samples']
    assert sample.links.shape == (0, 2)
    assert sample.gt_regions.masks.shape == (0, 30, 20)
    assert sample.gt_regions.bboxes.shape == (0, 4)


def test_blank_expressions(root):
    def blank(refs):
        refs[4]['sentences'][0].update(sent=' ', raw='?!')
        refs[4]['sentences'][1].update(sent='', raw='')

    edit_refs(root, blank)
    dataset = load(root, 'testA')
    assert [record['text'] for record in records(dataset)] == ['?!']
    assert dataset.counts['blank_expressions'] == 1


def _as_refclef(root):
    """The same references with masks as lists of run-length codes."""
    folder = Path(root, 'refclef')
    folder.mkdir()
    instances = json.loads(Path(root, 'refcoco/instances.json').read_text())
    union = np.zeros((2, 24, 32), dtype=bool)
    union[0, 4:12, 16:20] = union[1, 4:12, 24:30] = True
    codes = encode_masks(union)
    instances['annotations'][1]['segmentation'] = codes
    (folder / 'instances.json').write_text(json.dumps(instances))
    refs = [dict(ref, split='test') for ref in refcoco_refs()[2:3]]
    (folder / 'refs(berkeley).p').write_bytes(python2_pickle(refs))
    return union.any(0)


def test_run_length_codes_of_referitgame(root):
    expected = _as_refclef(root)
    images = dict(img_path='images/mscoco/images/train2014')
    dataset = load(root, 'test', name='refclef', data_prefix=images, pipeline=PIPELINE)
    masks = dataset[0]['data_samples'].gt_regions.masks
    np.testing.assert_array_equal(masks[0].numpy(), expected)
    assert '/images/saiapr_tc-12/' in records(load(root, 'test', name='refclef'))[0]['img_path']
    with pytest.raises(ValueError, match='official=True takes polygons'):
        load(root, 'test', name='refclef', official=True)


def test_a_batch_encodes_an_image_once_and_has_a_sample_per_expression(root):
    dataset = DATASETS.build(
        dict(
            type='RefCocoDataset',
            name='refcoco',
            split='train',
            data_root=root,
            pipeline=PIPELINE,
            test_mode=True,
        )
    )
    loader = DataLoader(
        dataset, batch_size=4, sampler=ContiguousSampler(dataset), collate_fn=pseudo_collate
    )
    preprocessor = GroundingDataPreprocessor(mean=[0.0] * 3, std=[1.0] * 3)
    batches = [preprocessor(batch) for batch in loader]
    assert [len(batch['inputs']) for batch in batches] == [1, 2]
    samples = [sample for batch in batches for sample in batch['data_samples']]
    assert [sample.sample_id for sample in samples] == [
        record['sample_id'] for record in records(dataset)
    ]
    assert [sample.image_index for sample in samples] == [0, 0, 0, 0, 0, 1]


def test_random_pipelines_share_images_if_they_draw_alike(root):
    pipeline = [
        PIPELINE[0],
        dict(type='Letterbox', size=64, long_sides=[48, 56, 64], placement='random'),
        dict(type='RandomFlipWithText'),
        *PIPELINE[2:],
    ]
    dataset = load(root, 'train', pipeline=pipeline)
    seen = set()
    for same_draws in (True, False):
        sampler = ImageGroupSampler(dataset, seed=3, same_draws=same_draws)
        indices = iter(sampler)
        samples = [dataset[next(indices)]['data_samples'] for _ in range(12)]
        geometries = [
            {sample.geometry for sample in samples[start : start + 6] if sample.img_id == '11'}
            for start in (0, 6)
        ]
        assert all((len(own) == 1) == same_draws for own in geometries)
        seen |= set.union(*geometries)
    assert len(seen) > 2  # other draws in the next round


def test_read_refs_keeps_the_file_order(root):
    refs = read_refs(f'{root}/refcoco/refs(unc).p')
    assert [ref.ref_id for ref in refs] == [1, 2, 3, 4, 5, 6]
    assert refs[0].sentences[1].sent_id == 11
    assert {a['id'] for a in refer_annotations()} > {ref.ann_id for ref in refs}
    assert {ref.image_id for ref in refs} < set(REFER_IMAGES)
