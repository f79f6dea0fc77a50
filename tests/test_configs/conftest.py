"""Data on which shrunken configs are trained."""

import pytest

from mmground.datasets.grounding_shapes import generate


@pytest.fixture(scope='session')
def shapes_root(tmp_path_factory):
    """A few narratives of Grounding Shapes on pictures of 64 pixels."""
    root = tmp_path_factory.mktemp('data') / 'shapes'
    generate(root, formats=['png'], counts=dict(train=4, val=1), size=64, workers=1)
    return str(root)
