"""Whole published checkpoints of PPMN's layout, and the vocabulary that belongs to them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from parity_data import ParityData
from published import DEAD_OF_BERT, DEAD_OF_FPN


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder for files of several hundred MB, emptied afterwards."""
    path = tmp_path_factory.mktemp('published')
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope='module')
def vocab_file(folder):
    """A vocabulary of the published size."""
    pieces = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', 'star']
    pieces += [f'piece{index}' for index in range(30522 - len(pieces))]
    path = folder / 'vocab.txt'
    path.write_text('\n'.join(pieces))
    return path


@pytest.fixture(scope='module')
def publish(folder) -> Callable[[str], Path]:
    """Write the whole checkpoint of a system, with the prefix of its distributed wrapper."""

    def wrapped(system, name='shapes', dead=()):
        weights = ParityData(system).state_dict(name) | dict.fromkeys(dead, torch.ones(1))
        return {f'module.{key}': value for key, value in weights.items()}

    def write(system: str) -> Path:
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=1e-4)
        path = folder / f'official_{system}.pth'
        torch.save(
            dict(
                epoch=13,
                model_state=wrapped(system),
                # The encoders are the same.
                fpn_model_state=wrapped('ppmn', 'shapes_fpn', DEAD_OF_FPN),
                bert_model_state=wrapped('ppmn', 'shapes_bert', DEAD_OF_BERT),
                optimizer_state=optimizer.state_dict(),
                scheduler_state=dict(last_epoch=14, _last_lr=[1e-4]),
                best_val_score=np.float64(0.594),
            ),
            path,
        )
        return path

    return write
