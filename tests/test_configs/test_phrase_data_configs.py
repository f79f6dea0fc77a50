"""The base configs of phrase grounding read data that lie where they say."""

import json

import pytest
from data_factory import (
    flickr_relations,
    write_flickr30k_dataset,
    write_proposals,
    write_referit_dataset,
)
from mmengine.config import Config

from mmground.registry import DATASETS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with all files under ``data``."""
    flickr, refer = tmp_path / 'data/flickr30k', tmp_path / 'data/refcoco'
    write_flickr30k_dataset(flickr)
    (flickr / 'relations.json').write_text(json.dumps(flickr_relations()))
    write_proposals(flickr / 'proposals.db', ['1000', '36979'])
    write_referit_dataset(refer)
    write_proposals(refer / 'proposals_refclef.db', [11, 12, 13])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ('name', 'texts', 'num_predicates'),
    [
        (
            'flickr30k_entities',
            dict(train='Two young guys with shaggy', val='A dog runs .', test='A dog runs .'),
            3,
        ),
        ('referitgame', dict(train='left man', val='woman', test='tall person'), 0),
    ],
)
def test_the_data_are_found(config_dir, folder, name, texts, num_predicates):
    cfg = Config.fromfile(config_dir / f'_base_/datasets/{name}.py')
    for part, text in texts.items():
        dataset = DATASETS.build(cfg[f'{part}_dataloader'].dataset)
        assert dataset.test_mode == (part != 'train')
        sample = dataset[0]['data_samples']
        assert sample.text.startswith(text)
        assert sample.relation_labels.shape[1] == num_predicates
        assert len(sample.proposals.bboxes) == 8
        height, width = sample.geometry.img_shape
        # The shorter side 600, unless the longer one would be more than 1000.
        assert min(height, width) == 600 or max(height, width) == 1000
    assert cfg.train_dataloader.batch_size * 4 == 40
