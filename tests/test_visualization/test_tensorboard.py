"""Training with TensorBoard, as docs/en/training.md describes it."""

import json

import pytest
from tiny_training import ITERATIONS, tiny_config

from mmground.utils.cli import build_runner


def test_losses_metrics_and_pictures_are_in_the_event_file(tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    cfg = tiny_config(tmp_path)
    backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    cfg.merge_from_dict(dict(visualizer=dict(vis_backends=backends)))
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.visualization.draw = True
    cfg.update(val_dataloader=cfg.test_dataloader, val_evaluator=cfg.test_evaluator)
    cfg.update(val_cfg=dict(type='ValLoop'))
    cfg.train_cfg.val_interval = ITERATIONS // 2
    build_runner(cfg).train()

    (folder,) = (tmp_path / 'work').glob('*/vis_data')
    events = EventAccumulator(str(folder)).Reload()
    lines = [json.loads(line) for line in (folder / 'scalars.json').read_text().splitlines()]
    for name, steps in (
        ('loss', range(1, ITERATIONS + 1)),
        ('png/original/AR', (ITERATIONS // 2, ITERATIONS)),
    ):
        expected = [line[name] for line in lines if name in line]
        assert [event.step for event in events.Scalars(name)] == list(steps)
        assert [event.value for event in events.Scalars(name)] == pytest.approx(expected)
    assert events.Tags()['images'] == ['val_139_0']
