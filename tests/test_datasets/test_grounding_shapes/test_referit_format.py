import json

import numpy as np
import pytest

from mmground.datasets import ReferItGameDataset
from mmground.datasets.grounding_shapes import generate
from mmground.structures import decode_mask


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    generate(folder, ['referit', 'refcoco'], dict(train=6, val=3, test=3), size=96, seed=4)
    return folder


def test_the_data_set_reads_it(root):
    summary = json.loads((root / 'shapes.json').read_text())['summary']['referit']
    for split in ('train', 'val', 'test'):
        dataset = ReferItGameDataset(
            split=split, data_root=str(root), data_prefix=dict(img_path=str(root / 'images'))
        )
        assert len(dataset) == summary[split]['expressions'] > 0
        assert dataset.counts['refs'] == summary[split]['refs']
        record = dataset.get_data_info(0)
        assert record['img_path'].startswith(f'{root}/images/{split}2017/')
    words = set((root / 'words.txt').read_text().split())
    texts = [dataset.get_data_info(i)['text'] for i in range(len(dataset))]
    assert all(set(text.split()) <= words for text in texts)


def test_masks_are_run_length_codes_of_the_same_things(root):
    own, polygons = (
        json.loads((root / folder / 'instances.json').read_text())
        for folder in ('refclef', 'refcoco')
    )
    others = {annotation['id']: annotation for annotation in polygons['annotations']}
    compared = 0
    for annotation in own['annotations']:
        (code,) = annotation['segmentation']
        assert set(code) == {'size', 'counts'}
        other = others.get(annotation['id'])
        if other is not None:
            masks = (decode_mask(own['segmentation'], (96, 96)) for own in (annotation, other))
            np.testing.assert_array_equal(*masks)
            compared += 1
    assert compared > 10
    assert (root / 'refclef/refs(berkeley).p').is_file()
