from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import Runner
from small_reir import build, caption, captions

from mmground.engine import RefinementStartHook
from mmground.registry import HOOKS


def _runner(iteration, head):
    return SimpleNamespace(iter=iteration, model=SimpleNamespace(head=head))


def test_the_switch_follows_the_iteration_alone():
    hook = HOOKS.build(dict(type='RefinementStartHook', start=3))
    head = SimpleNamespace(refining=True)
    seen = []
    for iteration in range(5):
        hook.before_train_iter(_runner(iteration, head), iteration)
        seen.append(head.refining)
    assert seen == [False, False, False, True, True]
    # A training that is resumed behind the start, with a new hook and a new head.
    head = SimpleNamespace(refining=True)
    RefinementStartHook(3).before_train_iter(_runner(2, head), 0)
    assert not head.refining
    RefinementStartHook(3).before_train_iter(_runner(4, head), 0)
    assert head.refining


def test_another_head_is_an_error():
    with pytest.raises(ValueError, match='moves no boxes'):
        RefinementStartHook(3).before_train(_runner(0, SimpleNamespace()))


def test_a_training_with_evaluation(tmp_path):
    """Evaluation moves boxes before the start as well, and training does not because of it."""
    model = build(tmp_path)
    used = []
    describe = model.describe_regions

    def count(feats, boxes, *args, **kwargs):
        used.append(('train' if model.training else 'val', len(boxes)))
        return describe(feats, boxes, *args, **kwargs)

    model.describe_regions = count
    data = [captions()[0], caption('[a ring] on [the grass]')]
    loader = dict(
        dataset=[dict(inputs=pixels, data_samples=sample) for pixels, sample in data],
        sampler=dict(type='DefaultSampler', shuffle=False),
        batch_size=1,
        num_workers=0,
        collate_fn=dict(type='pseudo_collate'),
    )
    runner = Runner(
        model=model,
        work_dir=str(tmp_path / 'work'),
        train_dataloader=loader,
        val_dataloader=loader,
        train_cfg=dict(by_epoch=False, max_iters=4, val_interval=1),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
        val_evaluator=dict(type='PhraseGroundingMetric'),
        custom_hooks=[dict(type='RefinementStartHook', start=2)],
        default_scope='mmground',
        experiment_name='refinement',
        default_hooks=dict(checkpoint=None),
    )
    runner.train()
    # The proposals of an image, and then the chosen ones of its phrases.
    assert [count for mode, count in used if mode == 'train'] == [6, 6, 6, 9, 6, 6]
    assert [count for mode, count in used if mode == 'val'] == [6, 9, 6, 6] * 4
    assert torch.isfinite(
        runner.message_hub.get_scalar('val/phrases/Acc@0.5').current() * torch.ones(1)
    )
