"""Fixtures of several folders. That this file is here lets tests import its neighbours."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from tool_loader import load_tool
from toy_grounder import ToyGrounder, toy_config, toy_image

from mmground.utils import register_all_modules

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='session', autouse=True)
def _registered():
    register_all_modules()


@pytest.fixture(scope='session')
def config_dir():
    """The folder of the project's configs."""
    return ROOT / 'configs'


@pytest.fixture(scope='session')
def convert():
    """``main`` of tools/model_converters/convert.py."""
    return load_tool('model_converters/convert')


@pytest.fixture
def toy_files(tmp_path):
    """A toy system on disk: ``config``, ``checkpoint`` and ``image`` paths."""
    files = SimpleNamespace(
        config=str(tmp_path / 'toy.py'),
        checkpoint=str(tmp_path / 'toy.pth'),
        image=str(tmp_path / 'photo.png'),
    )
    config = toy_config()
    config.custom_imports = dict(imports=['toy_grounder'], allow_failed_imports=False)
    config.dump(files.config)
    model = ToyGrounder()
    torch.nn.init.constant_(model.strength, 0.75)
    meta = dict(experiment_name='toy_1xb1_shapes', cfg=config.pretty_text)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), files.checkpoint)
    cv2.imwrite(files.image, toy_image())
    return files
