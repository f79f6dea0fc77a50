import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from mmground.datasets.grounding_shapes.coco_format import COCOFormat, mask_polygons
from mmground.datasets.grounding_shapes.generation import generate, make_shapes_image
from mmground.datasets.grounding_shapes.lexicon import THINGS
from mmground.structures import decode_mask

COUNTS = dict(train=8, val=3)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    generate(folder, ['coco'], COUNTS, size=96, seed=4)
    return folder


def test_polygons_are_exactly_the_mask():
    parts = 0
    for index in range(40):
        image = make_shapes_image(2, 'train', index, (64, 97, 128)[index % 3])
        for region in range(len(image.scene.regions)):
            mask = image.mask(region)
            polygons = mask_polygons(mask)
            assert np.array_equal(decode_mask(polygons, mask.shape), mask)
            parts += len(polygons) > 1
    assert parts > 20


@pytest.mark.parametrize('seed', range(20))
def test_polygons_of_any_mask(seed):
    """Holes in holes, single pixels, parts that touch at a corner, and the picture's border."""
    rng = np.random.default_rng(seed)
    mask = rng.random((19, 23)) < rng.uniform(0.1, 0.95)
    mask[9, 11] = True
    assert np.array_equal(decode_mask(mask_polygons(mask), mask.shape), mask)


def test_a_polygon_is_no_smaller_than_its_mask_by_half_a_pixel():
    mask = np.zeros((20, 30), dtype=bool)
    mask[4:12, 6:26] = True
    (polygon,) = mask_polygons(mask)
    points = np.reshape(polygon, (-1, 2))
    assert points.min(axis=0) == pytest.approx([6.25, 4.25])
    assert points.max(axis=0) == pytest.approx([25.75, 11.75])


@pytest.mark.parametrize('split', COUNTS)
def test_instances(root, split):
    coco = COCO(root / 'annotations' / f'instances_{split}2017.json')
    assert [category['name'] for category in coco.loadCats(coco.getCatIds())] == list(THINGS)
    assert len(coco.imgs) == COUNTS[split] and len(coco.anns) > 3 * COUNTS[split]
    for image in coco.imgs.values():
        path = root / 'images' / f'{split}2017' / image['file_name']
        assert path.is_file() and (image['width'], image['height']) == (96, 96)
    for number, annotation in coco.anns.items():
        assert annotation['image_id'] in coco.imgs and annotation['id'] == number
        assert annotation['category_id'] in coco.cats and annotation['iscrowd'] == 0
        mask = coco.annToMask(annotation).astype(bool)
        xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        assert annotation['area'] == mask.sum()
        assert annotation['bbox'] == [xs[0], ys[0], np.ptp(xs) + 1, np.ptp(ys) + 1]


def test_masks_are_what_the_scene_shows(root):
    coco = COCO(root / 'annotations' / 'instances_train2017.json')
    attributes = {entry['id']: entry['name'] for entry in coco.dataset['attributes']}
    for index in range(COUNTS['train']):
        image = make_shapes_image(4, 'train', index, 96)
        annotations = coco.imgToAnns[image.image_id]
        assert len(annotations) == len(image.scene.things)
        for thing, annotation in enumerate(annotations):
            mask = image.rendering.regions == image.scene.region_of_thing(thing)
            assert np.array_equal(coco.annToMask(annotation).astype(bool), mask)
            name = coco.cats[annotation['category_id']]['name']
            assert name == image.scene.things[thing].kind
            said = [attributes[number] for number in annotation['attribute_ids']]
            assert said == [image.scene.things[thing].color, image.scene.things[thing].texture]


def test_ids_and_summary(root):
    ids = []
    for split in COUNTS:
        content = json.loads((root / 'annotations' / f'instances_{split}2017.json').read_text())
        ids += [annotation['id'] for annotation in content['annotations']]
        summary = json.loads((root / 'shapes.json').read_text())['summary']['coco'][split]
        assert summary == dict(images=COUNTS[split], things=len(content['annotations']))
    assert len(set(ids)) == len(ids)
    assert COCOFormat().summarize([]) == dict(images=0, things=0)
