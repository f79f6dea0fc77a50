"""Access to the command line tools, which are no part of the package."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

REPO = Path(__file__).parents[1]


def load_tool(name: str) -> Callable:
    """The ``main`` of ``tools/<name>.py``."""
    module_name = f'tools_{name.replace("/", "_")}'
    spec = importlib.util.spec_from_file_location(module_name, REPO / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main
