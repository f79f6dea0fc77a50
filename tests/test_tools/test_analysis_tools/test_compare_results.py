import json

import numpy as np
import pytest
from PIL import Image
from referring_factory import write_referring_results
from result_factory import write_result_file
from tool_loader import load_tool

from mmground.evaluation import DumpedResults, DumpGroundingResults, image_of


@pytest.fixture(scope='module')
def compare():
    return load_tool('analysis_tools/compare_results')


@pytest.fixture
def two_files(tmp_path):
    """The results of the factory, and the same with the truth as the prediction of ``c``."""
    samples, path = write_referring_results(tmp_path / 'data')
    better = [sample.clone() for sample in samples]
    better[2].pred_phrases.masks = better[2].gt_regions.masks.clone()
    better[2].pred_phrases.bboxes = better[2].gt_regions.bboxes.clone()
    other = str(tmp_path / 'better.jsonl')
    metric = DumpGroundingResults(other)
    metric.process(None, [sample.to_dict() for sample in better])
    metric.evaluate(len(better))
    return path, other


def test_measures_intervals_and_pictures(compare, two_files, tmp_path, capsys):
    path, other = two_files
    out_dir = tmp_path / 'out'
    argv = [f'old={path}', f'new={other}', '--out-dir', str(out_dir), '--num-cases', '2']
    found = compare(argv)
    assert found == json.loads((out_dir / 'comparison.json').read_text())
    old, new = found['systems']['old'], found['systems']['new']
    assert list(old) == ['Acc@0.5', 'mIoU', 'Pr@0.5', 'Pr@0.9']
    # Four expressions have a target; the one that differs was missed.
    for measure in old:
        assert new[measure]['value'] == pytest.approx(old[measure]['value'] + 25)
        assert new[measure]['difference'] == pytest.approx(25)
        assert old[measure]['difference_interval'] == [0, 0]
    # All of one image: whatever is drawn, it is the same.
    assert old['mIoU']['interval'] == pytest.approx([old['mIoU']['value']] * 2)
    case, _ = found['cases']
    assert case['sample_id'] == 'c' and case['ious'] == dict(old=0, new=1)
    assert min(Image.open(out_dir / case['picture']).size) > 100
    assert '| new | ' in capsys.readouterr().out
    assert '](cases/01.png)' in (out_dir / 'comparison.md').read_text()


def test_phrases_that_are_asked_for(compare, two_files, tmp_path):
    argv = [*two_files, '--out-dir', str(tmp_path), '--texts', 'left of']
    cases = compare(argv)['cases']
    assert [case['sample_id'] for case in cases] == ['c']
    assert list(cases[0]['ious']) == ['results', 'better']


def test_panoptic_narratives(compare, tmp_path):
    path = write_result_file(tmp_path / 'data')
    argv = [f'a={path}', f'b={path}', '--out-dir', str(tmp_path / 'out'), '--task', 'png']
    found = compare([*argv, '--num-cases', '3'])
    assert found['num_phrases'] == 10
    for measure in ('AR', 'recall@0.5'):
        own = found['systems']['b'][measure]
        assert own['difference'] == 0
        low, high = own['interval']
        assert low <= own['value'] <= high
    assert len(found['cases']) == 3


def test_boxes_of_phrases(compare, two_files, tmp_path):
    """The factory's expressions as captions of one phrase; one of them has no box."""
    path, other = two_files
    argv = [f'old={path}', f'new={other}', '--out-dir', str(tmp_path), '--task', 'phrases']
    found = compare([*argv, '--num-cases', '1'])
    old, new = found['systems']['old'], found['systems']['new']
    assert list(old) == ['Acc@0.5', 'mIoU', 'PointIt']
    samples = [own for own in DumpedResults(path) if len(own.links)]
    assert len(samples) == found['num_phrases'] - 1 == 4
    hits = []
    for sample in samples:
        # The smallest box around the annotated ones.
        boxes = sample.gt_regions.bboxes
        truth = (*boxes[:, :2].amin(0).tolist(), *boxes[:, 2:].amax(0).tolist())
        x1, y1, x2, y2 = sample.pred_phrases.bboxes[0].tolist()
        width = min(x2, truth[2]) - max(x1, truth[0])
        height = min(y2, truth[3]) - max(y1, truth[1])
        shared = max(width, 0) * max(height, 0)
        areas = (x2 - x1) * (y2 - y1) + (truth[2] - truth[0]) * (truth[3] - truth[1])
        hits.append(shared / (areas - shared) >= 0.5)
    assert old['Acc@0.5']['value'] == pytest.approx(100 * np.mean(hits))
    assert new['Acc@0.5']['value'] == pytest.approx(old['Acc@0.5']['value'] + 25)
    assert [case['sample_id'] for case in found['cases']] == ['c']


def test_other_samples_are_an_error(compare, two_files, tmp_path):
    path, _ = two_files
    samples = list(DumpedResults(path))
    part = str(tmp_path / 'part.jsonl')
    metric = DumpGroundingResults(part)
    metric.process(None, [sample.to_dict() for sample in samples[1:]])
    metric.evaluate(len(samples) - 1)
    with pytest.raises(SystemExit, match="1 are in one of them only, such as 'a'"):
        compare([path, part, '--out-dir', str(tmp_path / 'out')])


@pytest.mark.parametrize(
    ('entries', 'message'),
    [
        (['a=none.jsonl'], 'file of results does not exist: none.jsonl'),
        (['a={0}', 'a={1}'], "two systems are called 'a'"),
    ],
)
def test_bad_arguments(compare, two_files, tmp_path, capsys, entries, message):
    entries = [entry.format(*two_files) for entry in entries]
    with pytest.raises(SystemExit) as stop:
        compare([*entries, '--out-dir', str(tmp_path)])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_images_are_rgb(tmp_path):
    _, path = write_referring_results(tmp_path)
    sample = next(iter(DumpedResults(path)))
    Image.fromarray(np.full((24, 32, 3), (200, 10, 30), np.uint8)).save(tmp_path / '1.png')
    sample.set_metainfo(dict(img_path=str(tmp_path / '1.png')))
    assert image_of(sample)[0, 0].tolist() == [200, 10, 30]
