"""A CLIP of small widths, and files as OpenAI publishes it."""

import torch
from mmengine.model import ModuleDict
from torch import nn

from mmground.registry import MODELS


def small_clip():
    """Config of the two encoders."""
    return dict(
        backbone=dict(
            type='CLIPResNet',
            width=8,
            blocks=(1, 2, 1, 1),
            attention_pool=dict(embed_dim=24, num_heads=4, grid_size=3),
        ),
        text_encoder=dict(
            type='CLIPTextEncoder',
            hidden_size=16,
            num_layers=2,
            num_heads=2,
            embed_dim=24,
            max_length=8,
            max_positions=12,
        ),
    )


def build_clip():
    """Both encoders, with weights and statistics of which none is trivial."""
    torch.manual_seed(0)
    model = ModuleDict({name: MODELS.build(cfg) for name, cfg in small_clip().items()}).eval()
    for name, value in model.state_dict().items():
        if name.endswith('running_var'):
            value.uniform_(0.5, 1.5)
        elif value.ndim == 1:
            value.add_(torch.randn_like(value) * 0.1)
    return model


def published_clip(model, counters=True):
    """The weights under OpenAI's names, matrices in half precision, with what has no use here."""
    weights = {}
    for name, value in model.state_dict().items():
        if '.connect.' in name or (name.endswith('num_batches_tracked') and not counters):
            continue
        is_matrix = value.ndim > 1 and 'embedding' not in name
        name = name.replace('backbone.', 'visual.').replace('text_encoder.', '')
        weights[name] = value.half() if is_matrix else value.clone()
    sizes = dict(input_resolution=224, context_length=77, vocab_size=49408)
    weights |= {name: torch.tensor(size) for name, size in sizes.items()}
    return weights | dict(logit_scale=torch.tensor(4.6))


class _Holder(nn.Module):
    """A level of the names of weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def save_torchscript(weights, path):
    """Write a TorchScript archive with these weights."""
    root = _Holder()
    for name, value in weights.items():
        *levels, last = name.split('.')
        owner = root
        for level in levels:
            if level not in dict(owner.named_children()):
                owner.add_module(level, _Holder())
            owner = owner.get_submodule(level)
        if value.is_floating_point() and 'running' not in last:
            owner.register_parameter(last, nn.Parameter(value, requires_grad=False))
        else:
            owner.register_buffer(last, value)
    torch.jit.script(root).save(str(path))
