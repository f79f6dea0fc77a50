from types import SimpleNamespace

import pytest
import torch
from mmengine.model import PretrainedInit
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement
from processes import run_processes
from small_ppmn import batch, build, sample, write_vocabulary

from mmground.engine import CPUAmpOptimWrapper, FiniteLossHook, FrozenWeightsHook


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_loss_that_is_not_finite_stops_the_training(value):
    hook, runner = FiniteLossHook(), SimpleNamespace(iter=7)
    data = batch(sample('[a star]', path='x.jpg'))
    hook.after_train_iter(runner, 0, data, dict(loss=torch.tensor(1.0)))
    outputs = dict(loss=torch.tensor(value), loss_bce_0=torch.tensor(value), lr=1.0)
    with pytest.raises(FloatingPointError, match=r'iteration 7: loss, loss_bce_0 not.*x\.jpg'):
        hook.after_train_iter(runner, 0, data, outputs)


@pytest.mark.parametrize('kind', [OptimWrapper, CPUAmpOptimWrapper])
def test_with_accumulation_and_mixed_precision(tmp_path, monkeypatch, kind):
    monkeypatch.setattr('mmground.engine.optim_wrappers.cpu_has_bfloat16', lambda: True)
    model = build(write_vocabulary(tmp_path / 'vocab.txt'))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    wrapper = kind(optimizer=optimizer, accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 6)
    hook, data = FiniteLossHook(), batch(sample('[a star]', path='x.jpg'))
    outputs = model.train_step(data, wrapper)
    hook.after_train_iter(SimpleNamespace(iter=0), 0, data, outputs)
    # Too large for the matching maps.
    torch.nn.init.constant_(model.head.query_proj.bias, 1e38)
    weights = model.head.pixel_proj.conv.weight.detach().clone()
    outputs = model.train_step(data, wrapper)
    with pytest.raises(FloatingPointError, match=r'iteration 1: loss.*x\.jpg'):
        hook.after_train_iter(SimpleNamespace(iter=1), 1, data, outputs)
    assert torch.equal(model.head.pixel_proj.conv.weight, weights), 'within the accumulation'


def _guarded_step(rank, values):
    data = batch(sample('[a star]', path=f'{rank}.jpg'))
    outputs = dict(loss=torch.tensor(values[rank]), loss_dice_0=torch.tensor(values[rank]))
    FiniteLossHook().after_train_iter(SimpleNamespace(iter=7), 0, data, outputs)


def test_all_processes_stop_together(tmp_path):
    nan = float('nan')
    assert run_processes(_guarded_step, tmp_path, (1.0, 2.0)) == [None, None]
    (tmp_path / 'second').mkdir()
    errors = run_processes(_guarded_step, tmp_path / 'second', (1.0, nan))
    for error in errors:
        assert isinstance(error, FloatingPointError)
        assert 'process 1: loss, loss_dice_0 not finite, on the samples 1.jpg' in str(error)
        assert 'process 0' not in str(error)


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


def test_samples_of_detectors_are_named_by_their_image():
    data = dict(data_samples=[BaseDataElement(metainfo=dict(img_path='y.jpg'))])
    with pytest.raises(FloatingPointError, match=r'y\.jpg'):
        FiniteLossHook().after_train_iter(
            SimpleNamespace(iter=7), 0, data, dict(loss=torch.tensor(float('nan')))
        )
