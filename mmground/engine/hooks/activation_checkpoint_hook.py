from collections.abc import Sequence
from functools import wraps

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmground.registry import HOOKS
from mmground.utils.model_wrapper import unwrap_model


@HOOKS.register_module()
class ActivationCheckpointHook(Hook):
    """Trades time for memory: parts of the model forget what their backward pass needs.

    A part keeps its inputs only and runs forward once more in the backward pass (`Training
    Deep Nets with Sublinear Memory Cost <https://arxiv.org/abs/1604.06174>`_). Gradients
    are the same, dropout included. MMEngine's key ``activation_checkpointing`` is an older
    form, in which a part whose inputs take no gradient, such as the first one, silently gets
    none for its weights either.

    Batch normalisation in training mode sees every batch twice, so its running statistics
    move faster. Frozen parts keep nothing anyway.

    Args:
        modules: Names of the parts, as in ``model.named_modules()``, such as
            ``'neck.1.branches'`` or ``'head.rounds'``. A list of modules stands for each
            module in it.

    Example:
        >>> custom_hooks = [
        ...     dict(type='ActivationCheckpointHook', modules=['neck.1', 'head.rounds'])]
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self.modules = [modules] if isinstance(modules, str) else list(modules)

    def before_train(self, runner: Runner) -> None:
        """Switch the parts over.

        Args:
            runner: The runner, with the model built.

        Raises:
            ValueError: If the model has no part of that name.
        """
        model = unwrap_model(runner.model)
        checkpoint_activations(model, self.modules)


def checkpoint_activations(model: nn.Module, modules: Sequence[str]) -> None:
    """Switch parts of a model over, see :class:`ActivationCheckpointHook`.

    Args:
        model: The model.
        modules: Names of the parts.

    Raises:
        ValueError: If the model has no part of that name.
    """
    parts = dict(model.named_modules())
    for name in modules:
        if not name or name not in parts:
            owner, _, last = name.rpartition('.')
            children = [child for child, _ in parts.get(owner, model).named_children()]
            raise ValueError(
                f'activation checkpointing: {name!r} names no part of the '
                f'{type(model).__name__}: {owner or "the model"} has {children}, not {last!r}'
            )
        part = parts[name]
        # A list is never called itself.
        for module in part if isinstance(part, nn.ModuleList) else [part]:
            module.forward = _checkpointed(module.forward)


def _checkpointed(forward):
    @wraps(forward)
    def wrapper(*args, **kwargs):
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return wrapper
