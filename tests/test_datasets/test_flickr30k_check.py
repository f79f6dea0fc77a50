from pathlib import Path

import pytest
from data_factory import flickr_box, flickr_xml, write_flickr30k_dataset
from PIL import Image

from mmground.datasets.flickr30k_check import check_flickr30k


@pytest.fixture
def root(tmp_path):
    return Path(write_flickr30k_dataset(tmp_path))


def test_a_copy(root):
    report = check_flickr30k(root, 'train', decode=True)
    assert report.counts == dict(images=1, captions=5, phrases=11, boxed=6)
    assert report.published == dict(images=29783, captions=148915, phrases=None, boxed=None)
    # As it is written: a chain that is nowhere, and a box without area.
    assert report.problems == {
        'phrases of chains that the file of boxes lacks': 1,
        'boxes without area or outside the image': 1,
    }
    assert not check_flickr30k(root, 'val', decode=True, workers=2).problems


def test_images(root):
    image = root / 'flickr30k-images/36979.jpg'
    Image.new('RGB', (8, 8)).save(image)
    assert check_flickr30k(root, 'val').problems == {}
    assert check_flickr30k(root, 'val', decode=True).problems == {'unusable images': 1}
    image.unlink()
    assert check_flickr30k(root, 'val', decode=True).problems == {'missing images': 1}
    (root / 'flickr30k-images').rename(root / 'elsewhere')
    assert check_flickr30k(root, 'train').problems['missing images'] == 1
    report = check_flickr30k(root, 'train', str(root / 'elsewhere'))
    assert 'missing images' not in report.problems


def test_annotations(root):
    (root / 'Sentences/1000.txt').write_text('[/EN#1 a man] .\n')
    report = check_flickr30k(root, 'train')
    assert report.problems == {'unusable annotation files': 1}
    assert '1000.txt: line 1 is malformed' in report.examples['unusable annotation files'][0]
    for box, is_problem in (((1, 1, 33, 25), False), ((0, 0, 9, 9), False), ((1, 1, 34, 9), True)):
        objects = [flickr_box(['21'], *box), flickr_box(['22'], 1, 1)]
        (root / 'Annotations/36979.xml').write_text(flickr_xml('36979', objects=objects))
        assert bool(check_flickr30k(root, 'val').problems) == is_problem
    report = check_flickr30k(root, 'nothing')
    assert report.problems == {'unusable lists': 1} and not report.counts
