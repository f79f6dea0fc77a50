"""From nothing to grounded pictures: generate, train, evaluate, control, demo."""

import json
import runpy
from pathlib import Path

import pytest
import torch

from mmground.evaluation import DumpedResults

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / 'configs' / 'ppmn' / 'ppmn_r18-fpn_1xb16_shapes.py')


def _run(name, *argv):
    return runpy.run_path(str(ROOT / name))['main'](list(map(str, argv)))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with a tiny data set and a training of two steps on it."""
    folder = tmp_path_factory.mktemp('shapes')
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    _run(
        'tools/misc/make_shapes.py',
        *('data/shapes', '--format', 'png', '--train', 6, '--val', 3, '--size', 64),
        *('--workers', 1),
    )
    _run('tools/train.py', CONFIG, '--work-dir', 'work', '--cfg-options', *_options())
    yield folder
    patch.undo()


def _options():
    return (
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'param_scheduler.total_steps=2',
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'val_dataloader.num_workers=0',
        'val_dataloader.persistent_workers=False',
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
        # Visualizers live as long as the process and are found by their name.
        'visualizer.name=shapes_workflow',
    )


def test_training_leaves_checkpoint_log_and_pictures(trained):
    assert list((trained / 'work').glob('best_png_original_AR_iter_2.pth'))
    scalars = next((trained / 'work').glob('*/vis_data/scalars.json')).read_text().splitlines()
    validation = json.loads(scalars[-1])
    assert 0 <= validation['png/original/AR'] <= 100
    assert validation['step'] == 2
    assert list((trained / 'work').glob('*/vis_data/vis_image/*.png'))


def test_evaluation_agrees_with_the_validation_of_the_training(trained):
    checkpoint = next((trained / 'work').glob('best_*.pth'))
    metrics = _run(
        'tools/test.py', CONFIG, checkpoint, '--work-dir', 'test', '--cfg-options', *_options()
    )
    scalars = next((trained / 'work').glob('*/vis_data/scalars.json')).read_text().splitlines()
    logged = json.loads(scalars[-1])['png/original/AR']
    assert metrics['png/original/AR'] == pytest.approx(logged, abs=1e-3)


def test_the_untrained_model_can_be_evaluated(trained):
    metrics = _run(
        'tools/test.py', CONFIG, 'none', '--work-dir', 'none', '--cfg-options', *_options()
    )
    assert metrics['png/num_phrases'] > 0


def test_the_control_reads_other_texts(trained):
    def evaluate(name, *options):
        metrics = _run(
            'tools/test.py',
            # The untrained model of the config's seed: after a training of two steps the
            # masks are empty, whatever the text.
            *(CONFIG, 'none', '--work-dir', name, '--out', f'{name}.jsonl'),
            *('--cfg-options', *_options(), *options),
        )
        return metrics, list(DumpedResults(trained / f'{name}.jsonl'))

    metrics, own = evaluate('own')
    control_metrics, control = evaluate('control', 'test_dataloader.dataset.control=shuffled_text')
    assert control_metrics.keys() == metrics.keys()
    assert control_metrics['png/num_phrases'] == metrics['png/num_phrases'] > 0
    texts = {}
    for sample in own:
        texts.setdefault(sample.img_id, set()).add(sample.text)
    for sample, blind in zip(own, control, strict=True):
        # The same image and ground truth, ...
        assert blind.sample_id == sample.sample_id
        assert torch.equal(blind.links, sample.links)
        assert torch.equal(blind.gt_regions.masks, sample.gt_regions.masks)
        # ... another image's words, which the model has read.
        assert blind.text not in texts[sample.img_id]
        assert any(blind.text in of_image for of_image in texts.values())
        assert not torch.equal(blind.pred_phrases.scores, sample.pred_phrases.scores)


def test_a_checkpoint_grounds_a_picture_without_its_data(trained, monkeypatch, tmp_path):
    checkpoint = next((trained / 'work').glob('best_*.pth')).resolve()
    image = next((trained / 'data/shapes/images/val2017').glob('*.jpg')).resolve()
    monkeypatch.chdir(tmp_path)  # where there is no vocabulary file
    _run(
        'demo/image_demo.py',
        *(image, 'There is [a red star] on [the grass].', CONFIG, checkpoint),
        *('--out-dir', 'out'),
    )
    prediction = json.loads((tmp_path / 'out' / 'preds' / f'{image.stem}.json').read_text())
    assert [phrase['text'] for phrase in prediction['phrases']] == ['a red star', 'the grass']
    assert (tmp_path / 'out' / 'vis' / f'{image.stem}.png').stat().st_size > 0
