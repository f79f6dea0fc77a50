import json
from pathlib import Path

import pytest
from data_factory import write_png_dataset, write_vocab

from mmground.datasets.png_check import check_png


@pytest.fixture
def root(tmp_path):
    write_png_dataset(tmp_path)
    return tmp_path


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize('workers', [1, 2])
def test_a_good_copy(root, workers):
    vocab = write_vocab(root / 'vocab.txt')
    seen = []

    def progress(results, total):
        for result in results:
            seen.append(total)
            yield result

    report = check_png(root, 'val', vocab, decode=True, workers=workers, progress=progress)
    assert not report.problems
    assert report.counts == dict(narratives=7, phrases=10, segments=7, images=3)
    # One narrative has no grounded phrase, another a word too many.
    assert report.filtered == dict(narratives=5, phrases=8)
    assert seen == [3, 3, 3]


def test_missing_files(root):
    (root / 'images/val2017/000000000139.png').unlink()
    (root / 'annotations/panoptic_segmentation/val2017/000000000285.png').unlink()
    report = check_png(root, 'val', decode=True)
    assert report.problems == {'missing images': 1, 'missing panoptic PNGs': 1}
    assert report.examples['missing images'] == [str(root / 'images/val2017/000000000139.png')]


def test_unresolved_ids_and_images(root):
    def spoil(narratives):
        narratives[0]['segments'][3]['segment_ids'] = ['1', '70000']
        narratives[1]['image_id'] = '99'
        narratives[2]['segments'][0]['segment_ids'] = ['x'] * 9
        del narratives[3]['caption']

    edit(root / 'annotations/png_coco_val2017.json', spoil)
    report = check_png(root, 'val', write_vocab(root / 'vocab.txt'))
    assert report.problems == {
        'segment ids that the panoptic file lacks': 10,
        'narratives of an image that the panoptic file lacks': 1,
        'malformed narratives': 1,
    }
    examples = report.examples['segment ids that the panoptic file lacks']
    assert examples[0] == "narrative 0 (image 139): 'man' names '1'"
    assert len(examples) == 5
    assert report.filtered == {}
    assert report.counts['narratives'] == 7


def test_undecodable_files_and_empty_masks(root):
    segments = root / 'annotations/panoptic_segmentation/val2017'
    # The masks of another image: other ids, another size.
    (segments / '000000000285.png').write_bytes((segments / '000000000139.png').read_bytes())
    (segments / '000000000632.png').write_bytes(b'no image')
    image = root / 'images/val2017/000000000139.png'
    image.write_bytes(image.read_bytes()[:200])
    quick = check_png(root, 'val')
    assert not quick.problems
    report = check_png(root, 'val', decode=True)
    assert report.problems == {'unusable images': 1, 'unusable masks': 2}
    assert any('cannot be read' in text for text in report.examples['unusable masks'])

    edit(
        root / 'annotations/panoptic_val2017.json',
        lambda content: content['annotations'][0]['segments_info'][0].update(id=5),
    )
    edit(
        root / 'annotations/png_coco_val2017.json',
        lambda narratives: narratives[0]['segments'][7].update(segment_ids=['5']),
    )
    report = check_png(root, 'val', decode=True)
    assert any(
        'of which the panoptic PNG has no' in text for text in report.examples['unusable masks']
    )


def test_unusable_annotation_files(root, tmp_path):
    report = check_png(root, 'train')
    assert report.problems == {'unusable annotation files': 1}
    assert 'panoptic_train2017.json' in report.examples['unusable annotation files'][0]
    path = root / 'annotations/png_coco_val2017.json'
    path.write_text(path.read_text()[:-50])
    report = check_png(root, 'val', decode=True)
    assert report.problems == {'unusable annotation files': 1}
    assert 'not valid JSON' in report.examples['unusable annotation files'][0]


def test_annotations_that_the_reader_refuses(root):
    edit(
        root / 'annotations/panoptic_val2017.json',
        lambda content: content['annotations'][2]['segments_info'][0].update(bbox=[1, 1, 0, 4]),
    )
    report = check_png(root, 'val', write_vocab(root / 'vocab.txt'))
    assert report.problems == {'annotations that cannot be used': 1}
    assert 'has the box' in report.examples['annotations that cannot be used'][0]
