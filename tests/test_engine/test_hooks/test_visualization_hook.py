from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmground.engine.hooks import GroundingVisualizationHook
from mmground.registry import HOOKS
from mmground.structures import GroundingDataSample, parse_markup
from mmground.visualization import GroundingVisualizer


@pytest.fixture
def image_path(tmp_path):
    path = tmp_path / 'photo.png'
    image = np.zeros((40, 50, 3), np.uint8)
    image[..., 2] = 200  # Red: OpenCV writes BGR.
    cv2.imwrite(str(path), image)
    return str(path)


@pytest.fixture
def runner(tmp_path):
    visualizer = GroundingVisualizer(
        vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path)
    )
    return SimpleNamespace(
        iter=30, work_dir=str(tmp_path / 'work'), timestamp='now', visualizer=visualizer
    )


def samples(image_path, *names):
    text, phrases = parse_markup('[a thing]')
    result = []
    for name in names:
        sample = GroundingDataSample(
            metainfo=dict(text=text, phrases=phrases, sample_id=name, img_path=image_path)
        )
        sample.pred_phrases = InstanceData(masks=torch.zeros(1, 40, 50, dtype=torch.bool))
        result.append(sample)
    return result


def stored(tmp_path):
    return sorted(path.name for path in (tmp_path / 'vis_data').rglob('*.png'))


def test_validation_draws_the_first_sample_of_every_interval(runner, image_path, tmp_path):
    hook = HOOKS.build(dict(type='GroundingVisualizationHook', draw=True, interval=2))
    for index in range(5):
        outputs = samples(image_path, f'{index}a', f'{index}b')
        hook.after_val_iter(runner, index, outputs=outputs)
    assert stored(tmp_path) == ['val_0a_30.png', 'val_2a_30.png', 'val_4a_30.png']
    picture = cv2.imread(str(next((tmp_path / 'vis_data').rglob('val_0a_30.png'))))
    assert picture[100, 100].tolist() == [0, 0, 200], 'red stays red'


def test_testing_draws_every_sample_to_a_folder(runner, image_path, tmp_path):
    hook = GroundingVisualizationHook(draw=True, test_out_dir='pictures')
    for index in range(2):
        outputs = samples(image_path, f'{index}/a', f'{index}_a')
        hook.after_test_iter(runner, index, outputs=outputs)
    folder = Path(runner.work_dir) / 'now' / 'pictures'
    names = sorted(path.name for path in folder.iterdir())
    assert names == ['0%2Fa.png', '0_a.png', '1%2Fa.png', '1_a.png']
    assert stored(tmp_path) == []


def test_testing_says_where_the_pictures_are(runner, image_path):
    said = []
    runner.logger = SimpleNamespace(info=said.append)
    hook = GroundingVisualizationHook(draw=True, test_out_dir='pictures', max_samples=3)
    hook.before_test(runner)
    for index in range(2):
        hook.after_test_iter(runner, index, outputs=samples(image_path, f'{index}a', f'{index}b'))
    hook.after_test(runner)
    folder = f'{runner.work_dir}/now/pictures'
    assert said == [
        f'Drawing 3 of the test sample(s) into {folder}',
        f'Drew 3 picture(s): {folder}',
    ]
    for quiet in (dict(draw=True), dict(test_out_dir='pictures')):
        hook = GroundingVisualizationHook(**quiet)
        hook.before_test(runner)
        hook.after_test(runner)
    assert len(said) == 2


def test_testing_without_a_folder_uses_the_back_ends(runner, image_path, tmp_path):
    hook = GroundingVisualizationHook(draw=True, max_samples=3)
    for _ in range(2):
        hook.before_test(runner)
        for index in range(2):
            hook.after_test_iter(
                runner, index, outputs=samples(image_path, f'{index}a', f'{index}b')
            )
        assert stored(tmp_path) == ['test_0a_0.png', 'test_0b_0.png', 'test_1a_0.png']


def test_it_draws_nothing_unless_asked(runner, image_path, tmp_path):
    hook = GroundingVisualizationHook()
    hook.after_val_iter(runner, 0, outputs=samples(image_path, 'a'))
    hook.after_test_iter(runner, 0, outputs=samples(image_path, 'a'))
    assert stored(tmp_path) == []


def test_pictures_are_shown_on_request(runner, image_path, monkeypatch):
    shown = []
    monkeypatch.setattr(runner.visualizer, 'show', lambda picture, **kwargs: shown.append(kwargs))
    hook = GroundingVisualizationHook(draw=True, show=True, wait_time=0.5)
    hook.after_val_iter(runner, 0, outputs=samples(image_path, 'a'))
    assert shown == [dict(win_name='val_a', wait_time=0.5)]


def test_a_wrong_interval_is_refused():
    with pytest.raises(ValueError, match='at least 1'):
        GroundingVisualizationHook(interval=0)


def test_an_expression_beside_its_annotation(runner, image_path, tmp_path):
    """Also of a model that predicts points only, as while PBREC's first stage trains."""
    hook = GroundingVisualizationHook(draw=True, test_out_dir='pictures')
    outputs = samples(image_path, 'localised', 'points')
    for sample in outputs:
        mask = torch.zeros(1, 40, 50, dtype=torch.bool)
        mask[0, 10:20, 10:20] = True
        sample.gt_regions = InstanceData(masks=mask, bboxes=torch.tensor([[10.0, 10, 20, 20]]))
        sample.links = torch.tensor([[0, 0]])
        sample.pred_phrases.bboxes = sample.gt_regions.bboxes
    outputs[1].pred_phrases = InstanceData(points_rec=torch.tensor([[15.0, 15.0]]))
    hook.after_test_iter(runner, 0, outputs=outputs)
    for name in ('localised', 'points'):
        picture = cv2.imread(f'{runner.work_dir}/now/pictures/{name}.png')
        assert picture.shape[1] > 2 * 640
