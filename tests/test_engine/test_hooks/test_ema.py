"""MMEngine's average of the weights on a model that carries its vocabulary as a buffer."""

from types import SimpleNamespace

import torch
from mmengine.hooks import EMAHook
from small_ppmn import build, small_ppmn, write_vocabulary

from mmground.registry import MODELS
from mmground.utils.checkpoint import load_weights, read_checkpoint

MOMENTUM = 0.25


def test_average_of_a_model_that_gets_its_vocabulary_from_a_checkpoint(tmp_path):
    start = build(write_vocabulary(tmp_path / 'vocab.txt')).state_dict()
    model = MODELS.build(small_ppmn(vocab_file=None))
    runner = SimpleNamespace(model=model, _resume=False, iter=0, epoch=0, max_iters=10)
    hook = EMAHook(momentum=MOMENTUM)
    hook.before_run(runner)
    hook.before_train(runner)
    hook.after_load_checkpoint(runner, dict(state_dict=start))
    model.load_state_dict(start)

    weight = model.head.query_proj.weight
    average = None
    for runner.iter in range(3):
        with torch.no_grad():
            weight += runner.iter + 1
        hook.after_train_iter(runner, runner.iter)
        previous, average = average, weight.detach().clone()
        if previous is not None:
            average = (1 - MOMENTUM) * previous + MOMENTUM * average

    checkpoint = dict(state_dict=model.state_dict())
    hook.before_save_checkpoint(runner, checkpoint)
    path = str(tmp_path / 'iter_3.pth')
    torch.save(checkpoint, path)
    checkpoint = read_checkpoint(path)
    name = 'head.query_proj.weight'
    torch.testing.assert_close(checkpoint['state_dict'][name], average)
    assert torch.equal(checkpoint['ema_state_dict'][f'module.{name}'], weight)

    other = MODELS.build(small_ppmn(vocab_file=None))
    load_weights(other, checkpoint, path)
    assert torch.equal(other.text_encoder.vocab, start['text_encoder.vocab'])
    assert other.text_encoder.tokenize(['a red star'])[0].shape == (1, 5)

    resumed = SimpleNamespace(model=MODELS.build(small_ppmn(vocab_file=None)), _resume=True)
    hook = EMAHook(momentum=MOMENTUM)
    hook.before_run(resumed)
    hook.after_load_checkpoint(resumed, checkpoint)
    resumed.model.load_state_dict(checkpoint['state_dict'])
    assert torch.equal(resumed.model.head.query_proj.weight, weight)
    torch.testing.assert_close(hook.ema_model.module.head.query_proj.weight, average)
    hook.before_val_epoch(resumed)
    torch.testing.assert_close(resumed.model.head.query_proj.weight.detach(), average)
