from pathlib import Path

import pytest

from mmground.utils import register_all_modules

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='session', autouse=True)
def _registered():
    register_all_modules()


@pytest.fixture(scope='session')
def config_dir():
    """The folder of the project's configs."""
    return ROOT / 'configs'
