"""A training that takes a second, of a small PPMN on six hand-written narratives, and its end."""

import uuid
from pathlib import Path

import torch
from data_factory import write_png_dataset, write_vocab
from mmengine.config import Config
from small_ppmn import small_ppmn

ROOT = Path(__file__).parents[1]
ITERATIONS = 6

PIPELINE = [
    dict(type='LoadGroundingImage'),
    dict(type='Resize', scale=(64, 48), keep_ratio=True, backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='LoadGroundingMasks'),
    dict(type='PackGroundingInputs'),
]


def tiny_config(root: Path, by_epoch: bool = False, **changes) -> Config:
    """Six iterations of two narratives with dropout, mirrored at random, seeded, in ``root``.

    The runtime, with its hooks, is the one of the project's configs. A checkpoint is left
    after every iteration (``iter_<n>.pth``) and, by epochs, after every epoch. Keyword
    arguments replace top-level keys.
    """
    cfg = Config.fromfile(ROOT / 'configs/_base_/default_runtime.py')
    files = write_png_dataset(root / 'data') if not (root / 'data').exists() else _files(root)
    model = small_ppmn(write_vocab(root / 'vocab.txt'))
    model['text_encoder'].update(vocab_size=64, max_length=32)
    dataset = dict(type='PNGDataset', pipeline=PIPELINE, **files)
    sampler = 'SeededDefaultSampler' if by_epoch else 'SeededInfiniteSampler'
    loader = dict(batch_size=2, num_workers=0, dataset=dataset)
    # Five narratives, so that they do not divide by two.
    test_pipeline = [step for step in PIPELINE if step['type'] != 'RandomFlip']
    test = dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(dataset, pipeline=test_pipeline, test_mode=True, indices=5),
    )
    cfg.merge_from_dict(
        dict(
            experiment_name=f'tiny-{uuid.uuid4()}',
            work_dir=str(root / 'work'),
            model=model,
            train_dataloader=dict(loader, sampler=dict(type=sampler, shuffle=True)),
            test_dataloader=test,
            test_evaluator=dict(type='PNGMetric'),
            test_cfg=dict(type='TestLoop'),
            optim_wrapper=dict(
                type='OptimWrapper',
                optimizer=dict(type='AdamW', lr=1e-2),
                clip_grad=dict(max_norm=1.0),
            ),
            param_scheduler=dict(type='ExponentialLR', gamma=0.5, by_epoch=by_epoch),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=ITERATIONS),
            log_processor=dict(by_epoch=by_epoch),
            default_hooks=dict(logger=dict(log_metric_by_epoch=by_epoch)),
        )
    )
    every_epoch = dict(cfg.default_hooks.checkpoint, max_keep_ckpts=-1)
    every_iteration = dict(every_epoch, by_epoch=False)
    if by_epoch:
        cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=ITERATIONS // 3)
        cfg.default_hooks.checkpoint = every_epoch
        cfg.custom_hooks.append(every_iteration)
    else:
        cfg.default_hooks.checkpoint = every_iteration
    # MMEngine keeps visualizers by name, and with them the folder of an earlier run.
    del cfg.visualizer['name']
    for key, value in changes.items():
        cfg[key] = value
    return cfg


def _assert_equal(actual, expected, path):
    assert type(actual) is type(expected), path
    if isinstance(expected, torch.Tensor):
        assert torch.equal(actual, expected), path
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys(), path
        for key in expected:
            _assert_equal(actual[key], expected[key], f'{path}.{key}')
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected), path
        for i, pair in enumerate(zip(actual, expected, strict=True)):
            _assert_equal(*pair, f'{path}[{i}]')
    else:
        assert actual == expected, path


def assert_same_end(actual: dict, expected: dict) -> None:
    """Two checkpoints hold the same weights and the same state of a training, bit for bit."""
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert (key in actual) == (key in expected)
        if key in expected:
            _assert_equal(actual[key], expected[key], key)


def _files(root: Path) -> dict:
    return dict(
        data_root=str(root / 'data'),
        ann_file='annotations/png_coco_val2017.json',
        panoptic_ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(
            img_path='images/val2017', seg_map_path='annotations/panoptic_segmentation/val2017'
        ),
    )
