from types import SimpleNamespace

import pytest
import torch
from mmengine.model import PretrainedInit
from small_ppmn import batch, build, sample, write_vocabulary

from mmground.engine import FiniteLossHook, FrozenWeightsHook


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_loss_that_is_not_finite_stops_the_training(value):
    hook, runner = FiniteLossHook(), SimpleNamespace(iter=7)
    data = batch(sample('[a star]', path='x.jpg'))
    hook.after_train_iter(runner, 0, data, dict(loss=torch.tensor(1.0)))
    outputs = dict(loss=torch.tensor(value), loss_bce_0=torch.tensor(value), lr=1.0)
    with pytest.raises(FloatingPointError, match=r'iteration 7: loss, loss_bce_0 not.*x\.jpg'):
        hook.after_train_iter(runner, 0, data, outputs)


def _runner(model, load_from=None, resume=False):
    return SimpleNamespace(model=model, _load_from=load_from, _resume=resume)


def test_frozen_parts_need_weights_from_somewhere(tmp_path):
    vocab_file = write_vocabulary(tmp_path / 'vocab.txt')
    hook = FrozenWeightsHook()
    hook.before_train(_runner(build(vocab_file)))

    model = build(vocab_file, frozen=['backbone', 'text_encoder'])
    with pytest.raises(ValueError, match=r"\['backbone', 'text_encoder'\] have random weights"):
        hook.before_train(_runner(model))

    encoders = {
        name: value for name, value in model.state_dict().items() if not name.startswith('head.')
    }
    runner = _runner(model, load_from='some.pth')
    hook.after_load_checkpoint(runner, dict(state_dict=encoders))
    hook.before_train(runner)
    # The rest of a partly loaded part would stay random.
    name = 'text_encoder.model.encoder.layer.0.output.dense.weight'
    hook.after_load_checkpoint(runner, {k: v for k, v in encoders.items() if k != name})
    message = rf"\['text_encoder'\].*\(1 of \d+, such as {name}\), the checkpoint some\.pth lacks"
    with pytest.raises(ValueError, match=message):
        hook.before_train(runner)
    # A training that finds no checkpoint to resume begins with random weights too.
    with pytest.raises(ValueError, match=r"\['backbone', 'text_encoder'\]"):
        FrozenWeightsHook().before_train(_runner(model, resume=True))

    hook = FrozenWeightsHook()
    path = str(tmp_path / 'encoders.pth')
    torch.save(dict(state_dict=encoders), path)
    model.backbone.init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone')
    with pytest.raises(ValueError, match=r"\['text_encoder'\]"):
        hook.before_train(_runner(model))
    # MMEngine would only warn that no name matches.
    model.text_encoder.init_cfg = [dict(type='Pretrained', checkpoint=path)]
    with pytest.raises(ValueError, match=r"\['text_encoder'\].*prefix"):
        hook.before_train(_runner(model))
    model.text_encoder.init_cfg[0].update(prefix='text_encoder.')
    hook.before_train(_runner(model))
    # A file of the part alone.
    torch.save({f'module.{k}': v for k, v in model.backbone.state_dict().items()}, path + '1')
    model.backbone.init_cfg = dict(type=PretrainedInit, checkpoint=path + '1')
    hook.before_train(_runner(model))
