import pytest
from mmengine.config import Config

from mmground.utils.config_options import merge_options

CONFIG = """
max_iters = 20
weights = 'encoders.pth'
flag = True
pipeline = [dict(type='Resize', scale=64)]
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=weights)),
    text_encoder=dict(init_cfg=dict(type='Pretrained', checkpoint=weights)),
    neck=[dict(weights=weights), dict(other=20.0, flag=flag)],
    head=dict(sizes=(20, 20)),
)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 2)
param_scheduler = [dict(type='A'), dict(type='B', end=max_iters)]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
"""


@pytest.fixture
def cfg(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(CONFIG)
    return Config.fromfile(path)


@pytest.fixture
def warnings(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmground.utils.config_options.print_log', lambda text, **_: lines.append(text)
    )
    return lines


def test_what_mmengine_reads_may_be_new(cfg, warnings):
    merge_options(cfg, {'load_from': 'x.pth', 'randomness.seed': 1, 'sync_bn': 'torch'})
    assert cfg.load_from == 'x.pth' and cfg.randomness.seed == 1 and cfg.sync_bn == 'torch'
    assert not warnings


@pytest.mark.parametrize(
    ('key', 'hint'),
    [
        ('modle.head.x', ': did you mean model?'),
        ('randomnes.seed', ': did you mean randomness?'),
        ('max_iter', ': did you mean max_iters?'),
        ('zzz', 'nothing else reads it'),
    ],
)
def test_unknown_keys_are_refused(cfg, key, hint):
    with pytest.raises(ValueError, match=rf'^the setting {key} has no effect') as error:
        merge_options(cfg, {key: 1})
    assert str(error.value).endswith(hint)


def test_variables_have_been_read(cfg, warnings):
    merge_options(cfg, {'weights': 'mine.pth', 'flag': False, 'max_iters': 30})
    said = ' is a variable of the config, which was read already: set what is made of it instead'
    assert warnings == [
        f'weights{said}, for example model.backbone.init_cfg.checkpoint, '
        'model.text_encoder.init_cfg.checkpoint, model.neck.0.weights',
        f'flag{said}',
        f'max_iters{said}, for example train_cfg.max_iters, param_scheduler.1.end',
    ]


def test_a_list_is_a_variable_too(cfg, warnings):
    merge_options(cfg, {'pipeline.0.scale': 32})
    assert len(warnings) == 1
    assert warnings[0].endswith('for example train_dataloader.dataset.pipeline')


def test_variables_may_be_set_with_what_is_made_of_them(cfg, warnings):
    both = {'max_iters': 30, 'train_cfg.max_iters': 30}
    merge_options(cfg, both)
    assert len(warnings) == 1 and warnings.pop().endswith('for example param_scheduler.1.end')
    merge_options(cfg, {'max_iters': 40, 'train_cfg.max_iters': 40, 'param_scheduler.1.end': 40})
    merge_options(cfg, {'weights': 'encoders.pth'})
    assert not warnings
