"""The base configs of referring expressions read data and prepare them as published."""

import pytest
from data_factory import write_refer_dataset
from mmengine.config import Config

from mmground.registry import DATASETS, TRANSFORMS


@pytest.mark.parametrize('name', ['refcoco', 'refcoco+', 'refcocog'])
def test_sets_and_splits(config_dir, name):
    cfg = Config.fromfile(config_dir / f'_base_/datasets/{name}.py')
    splits = {}
    for part in ('train', 'val', 'test'):
        dataset = cfg[f'{part}_dataloader'].dataset
        assert dataset.name == name
        splits[part] = dataset.split
    assert splits == dict(train='train', val='val', test='held-out')
    assert cfg.train_dataloader.batch_size == 32
    for transform in (*cfg.train_pipeline, *cfg.test_pipeline):
        TRANSFORMS.build(transform)


@pytest.mark.parametrize('name', ['refcoco', 'refcocog'])
def test_the_pipelines_run(config_dir, tmp_path, name):
    root = write_refer_dataset(tmp_path)
    cfg = Config.fromfile(config_dir / f'_base_/datasets/{name}.py')
    for part in ('train', 'val', 'test'):
        dataset = DATASETS.build({**cfg[f'{part}_dataloader'].dataset, 'data_root': root})
        sample = dataset[0]['data_samples']
        geometry = sample.geometry
        assert geometry.canvas_shape == (640, 640)
        longest = max(geometry.img_shape)
        assert longest == 640 if part != 'train' else longest in range(448, 641, 32)
        assert geometry.crop is None
        assert sample.gt_regions.masks.shape == (1, *sample.ori_shape)
        assert sample.dataset == name
