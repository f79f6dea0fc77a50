import json
from pathlib import Path

import pytest
from data_factory import python2_pickle, refcoco_refs, write_refer_dataset

from mmground.datasets.refcoco_check import check_refer_set


@pytest.fixture
def root(tmp_path):
    return Path(write_refer_dataset(tmp_path))


def problems(reports):
    return {
        (report.split, kind): count for report in reports for kind, count in report.problems.items()
    }


def edit(root, change):
    path = root / 'refcoco/instances.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize('workers', [1, 2])
def test_a_good_copy(root, workers):
    reports = check_refer_set(root, 'refcoco', decode=True, workers=workers)
    assert not problems(reports)
    assert {report.split: report.counts for report in reports} == {
        'refcoco train': dict(images=2, refs=3, expressions=6),
        'refcoco val': dict(images=1, refs=1, expressions=1),
        'refcoco testA': dict(images=1, refs=1, expressions=2),
        'refcoco testB': dict(images=1, refs=1, expressions=1),
    }
    assert reports[0].published == dict(images=16994, refs=42404, expressions=120624)


def test_images(root):
    folder = root / 'images/mscoco/images/train2014'
    (folder / 'COCO_train2014_000000000011.png').unlink()
    (folder / 'COCO_train2014_000000000012.png').write_bytes(b'no image')
    assert problems(check_refer_set(root, 'refcoco')) == {('refcoco train', 'missing images'): 1}
    reports = check_refer_set(root, 'refcoco', decode=True)
    assert problems(reports) == {
        ('refcoco train', 'missing images'): 1,
        ('refcoco train', 'unusable images'): 1,
    }
    moved = root / 'elsewhere'
    folder.rename(moved)
    assert ('refcoco val', 'missing images') in problems(check_refer_set(root, 'refcoco'))
    assert ('refcoco val', 'missing images') not in problems(
        check_refer_set(root, 'refcoco', str(moved))
    )


def test_annotations(root):
    def spoil(content):
        content['annotations'][0].update(segmentation=[])
        content['annotations'][1].update(segmentation=[[1, 2]])
        content['annotations'][3].update(bbox=[1, 1, 40, 4])
        del content['annotations'][4]

    edit(root, spoil)
    refs = refcoco_refs()
    refs[1].update(ann_id=-1, split='adv')
    refs[0]['sentences'][0].update(sent='', raw='')
    refs[4].update(image_id=12, ann_id=103)
    refs[2].update(ann_id=None)
    (root / 'refcoco/refs(unc).p').write_bytes(python2_pickle(refs))
    reports = check_refer_set(root, 'refcoco')
    assert problems(reports) == {
        ('refcoco', 'references of a split that the set does not have'): 1,
        ('refcoco train', 'expressions without any text'): 1,
        ('refcoco train', 'empty masks'): 1,
        ('refcoco train', 'references without a target'): 1,
        ('refcoco val', 'boxes without area or outside the image'): 1,
        ('refcoco testB', 'images or annotations that instances.json lacks'): 1,
    }
    assert reports[0].examples['references of a split that the set does not have'] == [
        "reference 2: 'adv'"
    ]


def test_malformed_masks_and_images_of_two_splits(root):
    edit(root, lambda content: content['annotations'][1].update(segmentation=[[1, 2]]))
    refs = refcoco_refs()
    refs[3].update(image_id=11, ann_id=101)
    (root / 'refcoco/refs(unc).p').write_bytes(python2_pickle(refs))
    assert problems(check_refer_set(root, 'refcoco')) == {
        ('refcoco', 'images in two splits'): 1,
        ('refcoco train', 'malformed masks'): 1,
    }


def test_splits_that_are_missing(root):
    (root / 'refcoco/refs(unc).p').write_bytes(python2_pickle(refcoco_refs()[:4]))
    assert problems(check_refer_set(root, 'refcoco')) == {
        ('refcoco testA', 'splits without a reference'): 1,
        ('refcoco testB', 'splits without a reference'): 1,
    }


def test_unusable_files(root):
    (root / 'refcoco/instances.json').unlink()
    (report,) = check_refer_set(root, 'refcoco')
    assert not report.counts
    assert 'instances.json' in report.examples['unusable annotation files'][0]
    (report,) = check_refer_set(root, 'refcoco+')
    assert 'refs(unc).p' in report.examples['unusable annotation files'][0]
