"""All splits of a data set in one call of tools/test.py."""

import pytest
from data_factory import write_refer_dataset
from mmengine.config import Config
from mmengine.registry import DefaultScope

PIPELINE = [
    dict(type='LoadGroundingImage'),
    dict(type='LoadGroundingMasks'),
    dict(type='PackGroundingInputs'),
]


@pytest.fixture(autouse=True)
def _scope(monkeypatch):
    """The tool changes the default scope of the process."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())


def _dataset(root, split):
    return dict(
        type='RefCocoDataset',
        name='refcoco',
        split=split,
        data_root=root,
        pipeline=PIPELINE,
        test_mode=True,
    )


@pytest.mark.parametrize('joined', [False, True])
def test_a_row_and_values_for_each(test, tmp_path, capfd, joined):
    root = write_refer_dataset(tmp_path / 'data')
    dataset = _dataset(root, 'held-out')
    if joined:
        splits = [_dataset(root, split) for split in ('val', 'testA', 'testB')]
        dataset = dict(type='ConcatDataset', datasets=splits)
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
        dataset=dataset,
    )
    config = Config(
        dict(
            default_scope='mmground',
            experiment_name=f'splits-{joined}',
            custom_imports=dict(imports=['toy_grounder'], allow_failed_imports=False),
            work_dir=str(tmp_path / 'work'),
            model=dict(type='ToyGrounder', predict_boxes=True),
            test_dataloader=loader,
            test_evaluator=dict(type='ReferringMetric'),
            test_cfg=dict(type='TestLoop'),
        )
    )
    config.dump(tmp_path / 'config.py')
    metrics = test([str(tmp_path / 'config.py'), 'none'])
    # The model predicts nothing for texts without a colour.
    assert metrics['referring/original/mIoU'] == 0
    counts = {'': 4, 'refcoco_val/': 1, 'refcoco_testA/': 2, 'refcoco_testB/': 1}
    for where, count in counts.items():
        assert metrics[f'referring/{where}num_expressions'] == count
        assert metrics[f'referring/original/{where}Acc@0.5'] == 0
    out, err = capfd.readouterr()
    lines = [line.split() for line in (out + err).splitlines() if line.startswith('| ')]
    rows = {line[1]: line[3] for line in lines}
    assert rows == {
        'split': 'expressions',
        'all': '4',
        'refcoco_val': '1',
        'refcoco_testA': '2',
        'refcoco_testB': '1',
    }
