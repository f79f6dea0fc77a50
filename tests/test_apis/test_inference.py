import pytest
import torch
from mmengine.config import Config
from toy_grounder import ToyGrounder, toy_config

from mmground.apis import init_model


def test_config_file_and_checkpoint(toy_files):
    model = init_model(toy_files.config, toy_files.checkpoint)
    assert isinstance(model, ToyGrounder)
    assert not model.training
    assert model.strength.tolist() == [0.75, 0.75]
    assert model.cfg.model.type == 'ToyGrounder'


def test_config_object_is_not_changed_by_options(toy_files):
    config = toy_config()
    model = init_model(config, toy_files.checkpoint, cfg_options={'model.predict_boxes': True})
    assert model.predict_boxes
    assert model.cfg.model.predict_boxes
    assert 'predict_boxes' not in config.model


def test_without_a_checkpoint_it_warns():
    with pytest.warns(UserWarning, match='random weights'):
        model = init_model(toy_config())
    assert model.strength.tolist() == [0.25, 0.25]


def test_the_config_in_a_checkpoint_needs_trust(toy_files):
    with pytest.raises(ValueError, match=r'toy\.pth carries one, but .*trust_checkpoint=True'):
        init_model(checkpoint=toy_files.checkpoint)
    model = init_model(checkpoint=toy_files.checkpoint, trust_checkpoint=True)
    assert model.strength.tolist() == [0.75, 0.75]
    assert model.cfg.default_scope == 'mmground'


def test_errors_name_what_is_wrong(toy_files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'config .*absent\.py does not exist'):
        init_model(str(tmp_path / 'absent.py'))
    with pytest.raises(ValueError, match='give a config, a checkpoint'):
        init_model()
    with pytest.raises(TypeError, match='int'):
        init_model(3)
    with pytest.raises(ValueError, match='no "model"'):
        init_model(Config(dict(a=1)))
    bare = tmp_path / 'bare.pth'
    torch.save(ToyGrounder().state_dict(), bare)
    with pytest.raises(ValueError, match=r'bare\.pth carries no config'):
        init_model(checkpoint=bare, trust_checkpoint=True)


def test_a_checkpoint_of_another_system_is_refused(toy_files):
    with pytest.raises(ValueError, match=r'does not fit the ToyGrounder.*"toy_1xb1_shapes"'):
        init_model(toy_config(channels=3), toy_files.checkpoint)
