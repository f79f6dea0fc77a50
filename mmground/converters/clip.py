import zipfile
from collections.abc import Mapping

import torch
from torch import Tensor

from mmground.utils.checkpoint import file_sha256, read_checkpoint

from .rename import add_batch_counters, rename_keys, strip_prefix

# What OpenAI published, by the file's SHA-256.
CLIP_RELEASES = {
    'afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762': "OpenAI's RN50",
    '8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599': "OpenAI's RN101",
}

_TEXT = r'(?:transformer\.resblocks|token_embedding|ln_final)\..*'
_RULES = (
    (r'visual\.(.*)', r'backbone.\1'),
    (rf'({_TEXT}|positional_embedding|text_projection)', r'text_encoder.\1'),
)
# The temperature of the contrastive loss, and sizes that stand in the archives as numbers.
_DEAD = (r'logit_scale', r'input_resolution', r'context_length', r'vocab_size')


def read_clip(path: str, trust_checkpoint: bool = False) -> Mapping[str, Tensor]:
    """Read the weights of a CLIP: OpenAI's TorchScript archive, or a state dict.

    An archive is a program, which can write files while it is loaded. OpenAI's own are known by
    their checksums.

    Args:
        path: The file.
        trust_checkpoint: Load any archive, and any Python object.

    Returns:
        The weights under their names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or no checkpoint, or an unknown archive that is not
            trusted.
    """
    if not _is_torchscript(path):
        return read_checkpoint(path, trust_checkpoint)['state_dict']
    if not trust_checkpoint and file_sha256(path) not in CLIP_RELEASES:
        raise ValueError(
            f'{path} is a TorchScript archive, but none of those that OpenAI published '
            f'(SHA-256 {file_sha256(path)}): get the file again or, if you trust where it comes '
            'from, pass trust_checkpoint=True, --trust-checkpoint on a command line (it may then '
            'run code)'
        )
    try:
        return torch.jit.load(path, map_location='cpu').state_dict()
    except RuntimeError as error:
        raise ValueError(f'the TorchScript archive {path} cannot be read: {error}') from error


def convert_clip(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Map a CLIP with a ResNet to :class:`CLIPResNet` and :class:`CLIPTextEncoder`.

    Half precision, in which most of the published weights are, becomes float32.

    Args:
        state_dict: Published parameters, with or without counters of batches.

    Returns:
        Parameters under ``backbone.`` and ``text_encoder.``, and the names of those without use.

    Raises:
        ValueError: If the layout is another.
    """
    state_dict = strip_prefix(state_dict, 'module.')
    if 'visual.class_embedding' in state_dict:
        raise ValueError('its image encoder is a vision transformer')
    renamed, dropped = rename_keys(state_dict, _RULES, _DEAD)
    weights = {
        name: value.float() if value.is_floating_point() else value
        for name, value in renamed.items()
    }
    add_batch_counters(weights)
    return weights, dropped


def _is_torchscript(path: str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        # Files of torch.save have none.
        return any(name.endswith('/constants.pkl') for name in archive.namelist())
