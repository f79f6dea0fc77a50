import importlib
import json
from statistics import mean

import pytest
from PIL import Image
from tool_loader import REPO

from mmground.datasets import PNGDataset
from mmground.datasets.transforms import LoadGroundingMasks


@pytest.fixture
def tool(monkeypatch):
    # By a name that the process finds in which the tool measures the loading.
    monkeypatch.syspath_prepend(REPO / 'tools' / 'analysis_tools')
    return importlib.import_module('benchmark_data')


def test_benchmark(tool, config_dir, capsys):
    config = config_dir / 'ppmn' / 'ppmn_r101-fpn_4xb12-14e_png.py'
    argv = '--narratives 9 --images 4 --pictures 2 --batch-size 2 --batches 1 --workers 0 1'
    result = tool.main(['--config', str(config), *argv.split()])
    load = result['load']
    assert load['samples'] == 9
    assert load['seconds'] > 0 and load['cpu_seconds'] > 0
    assert load['peak_mb'] >= load['before_mb'] > 0
    assert list(result['transforms']) == [
        'LoadGroundingImage',
        'ResizeShortestEdge',
        'LoadGroundingMasks',
        'PackGroundingInputs',
    ]
    assert result['samples_per_second'].keys() == {0, 1}
    for numbers in (result['transforms'], result['samples_per_second']):
        assert all(number > 0 for number in numbers.values())

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('9 narratives about 4 images, ')
    for start in ('load annotations: 9 samples in ', *result['transforms'], '0 workers', '1 work'):
        assert sum(line.startswith(start) for line in lines) == 1


def test_generated_data(tool, tmp_path):
    arguments = tool.write_data(tmp_path, narratives=500, images=300, pictures=3)
    dataset = PNGDataset(**arguments)
    # The statistics of the real data: words of a narrative, its noun phrases, those grounded.
    assert len(dataset) == dataset.counts['narratives'] == 500
    assert dataset.counts['unlocated_phrases'] == 0
    assert dataset.counts['phrases'] / 500 == pytest.approx(5.1, abs=0.3)
    narratives = json.loads((tmp_path / 'annotations/png_coco_train2017.json').read_text())
    panoptic = json.loads((tmp_path / 'annotations/panoptic_train2017.json').read_text())
    assert len(panoptic['images']) == len(panoptic['annotations']) == 300
    assert mean(len(n['caption'].split()) for n in narratives) == pytest.approx(37, abs=1.5)
    assert mean(sum(part['noun'] for part in n['segments']) for n in narratives) == pytest.approx(
        11, abs=0.5
    )
    different = sum(
        ''.join(part['utterance'] for part in n['segments']).replace(' ', '')
        != n['caption'].lower().replace(' ', '')
        for n in narratives
    )
    assert 0 < different < 15

    # What the annotations say of the segments is what is drawn.
    assert len(list((tmp_path / 'images/train2017').iterdir())) == 3
    for i in range(5):
        record = dataset[i]
        masks = LoadGroundingMasks()({**record, 'ori_shape': (record['height'], record['width'])})
        for mask, region in zip(masks['gt_region_masks'], record['regions'], strict=True):
            assert mask.sum() == region['area']
            left, top, right, bottom = region['bbox']
            assert mask[top:bottom, left:right].sum() == region['area']
            assert mask[top].any() and mask[:, left].any()
            assert mask[bottom - 1].any() and mask[:, right - 1].any()
        assert Image.open(record['img_path']).size == (record['width'], record['height'])


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (
            '--narratives 24 --batch-size 5 --batches 4',
            '24 narratives are too few for 4 batches of 5 and one before them: give '
            '--narratives 25',
        ),
        ('--images 0', 'argument --images: must be an integer of at least 1, got 0'),
        ('--workers -1', 'argument --workers: must be an integer of at least 0, got -1'),
        ('--config none.py', 'config file does not exist: none.py'),
    ],
)
def test_refused(tool, config_dir, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(config_dir.parent)
    with pytest.raises(SystemExit) as stop:
        tool.main(argv.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
