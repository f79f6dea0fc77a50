import subprocess
import sys
import uuid
from collections import OrderedDict
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope

from mmground.registry import MODELS
from mmground.utils import register_all_modules

REPO = Path(__file__).parents[2]


@pytest.fixture
def scope(monkeypatch):
    """Start without a default scope of look-ups, and put the old one back afterwards."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())


def test_default_scope(scope):
    assert DefaultScope.get_current_instance() is None
    register_all_modules()
    assert DefaultScope.get_current_instance().scope_name == 'mmground'


def test_replaces_another_scope(scope):
    DefaultScope.get_instance('before', scope_name='mmdet')
    register_all_modules()
    assert DefaultScope.get_current_instance().scope_name == 'mmground'
    register_all_modules()
    assert DefaultScope.get_current_instance().scope_name == 'mmground'


def test_leaves_the_scope_alone_when_told(scope):
    DefaultScope.get_instance('before', scope_name='mmdet')
    register_all_modules(init_default_scope=False)
    assert DefaultScope.get_current_instance().scope_name == 'mmdet'


def test_registers_every_component_in_a_new_process():
    # In a process of its own, where nothing has filled the registries.
    code = (
        'from mmground import registry\n'
        'from mmground.utils import register_all_modules\n'
        'register_all_modules()\n'
        'names = sorted(k for k, v in vars(registry).items() if isinstance(v, registry.Registry)\n'
        '               and not k.startswith("MMENGINE_") and v.module_dict)\n'
        'print(*names)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stderr
    # The others (TASK_UTILS, ...) have no component yet.
    assert {'DATASETS', 'HOOKS', 'METRICS', 'MODELS', 'TRANSFORMS', 'VISUALIZERS'} <= set(
        done.stdout.split()
    )


@pytest.fixture
def user_project(tmp_path, monkeypatch):
    """A config outside the repository, with a base inside it and a module beside the config."""
    module = f'user_module_{uuid.uuid4().hex}'
    (tmp_path / f'{module}.py').write_text(
        'from torch import nn\n'
        'from mmground.registry import MODELS\n\n\n'
        '@MODELS.register_module()\n'
        f'class Model_{module}(nn.Module):\n'
        '    def __init__(self, width):\n'
        '        super().__init__()\n'
        '        self.width = width\n'
    )
    base = REPO / 'configs' / '_base_' / 'default_runtime.py'
    config = tmp_path / 'user_config.py'
    config.write_text(
        f"_base_ = '{base}'\n"
        f"custom_imports = dict(imports=['{module}'])\n"
        f"model = dict(type='Model_{module}', width=7)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return config


def test_config_outside_the_repository(user_project, scope):
    cfg = Config.fromfile(user_project)
    assert cfg.default_scope == 'mmground'
    assert 'visualization' in cfg.default_hooks, 'the base is read'
    assert MODELS.build(cfg.model).width == 7
    # As a runner builds it: from the root registry, with the config's scope.
    DefaultScope.get_instance('user', scope_name=cfg.default_scope)
    assert ROOT_MODELS.build(cfg.model).width == 7
