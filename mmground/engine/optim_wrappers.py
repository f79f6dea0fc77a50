from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmground.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed precision on the CPU: forward passes under bfloat16 autocast.

    MMEngine's ``AmpOptimWrapper`` insists on an accelerator. bfloat16 has the range of
    float32, so gradients need no scaling and everything else is the plain wrapper.

    Args:
        **kwargs: As for :class:`mmengine.optim.OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast around the plain context."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
