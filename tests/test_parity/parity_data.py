"""Access to the numbers of the published implementations, see tests/data/parity."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
from torch import Tensor

_DEFAULT_ROOT = Path(__file__).parents[1] / 'data' / 'parity'


class ParityData:
    """The parity cases of one system.

    Args:
        system: Name of its folder in ``MMGROUND_PARITY_DIR``, or in the copy that
            comes with the tests if the variable is not set.
    """

    def __init__(self, system: str) -> None:
        self.root = Path(os.environ.get('MMGROUND_PARITY_DIR') or _DEFAULT_ROOT) / system
        if not self.root.is_dir():
            raise FileNotFoundError(
                f'no parity data in {self.root}: let MMGROUND_PARITY_DIR name a folder that '
                f'holds {system}/, or unset it'
            )

    @property
    def seed(self) -> int:
        """Seed of the reference weights."""
        return json.loads((self.root / 'meta.json').read_text())['seed']

    def arrays(self, case: str) -> dict[str, np.ndarray]:
        """All arrays of a case, such as ``'forward_a'``."""
        with np.load(self.root / f'{case}.npz') as archive:
            return dict(archive)

    def shapes(self, name: str = 'shapes') -> dict[str, list[int]]:
        """Names and shapes of a published checkpoint's tensors."""
        return json.loads((self.root / f'{name}.json').read_text())

    def state_dict(self, name: str = 'shapes') -> dict[str, Tensor]:
        """Reference weights in the layout of a published checkpoint."""
        return _reference_weights().reference_state_dict(self.shapes(name), self.seed)


def _reference_weights():
    spec = importlib.util.spec_from_file_location(
        'reference_weights', _DEFAULT_ROOT / 'reference_weights.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
