from contextlib import contextmanager

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn

from mmground.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed precision on the CPU: forward passes under bfloat16 autocast.

    MMEngine's ``AmpOptimWrapper`` insists on an accelerator. bfloat16 has the range of
    float32, so gradients need no scaling and everything else is the plain wrapper.

    A processor without bfloat16 instructions emulates them many times slower than it
    computes in float32; there, this is the plain wrapper, and says so. On a GPU it is the
    plain wrapper too: use ``AmpOptimWrapper``, or ``tools/train.py --amp``.

    Args:
        **kwargs: As for :class:`mmengine.optim.OptimWrapper`.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.enabled = cpu_has_bfloat16()
        kind = 'bfloat16 mixed precision' if self.enabled else 'float32, for want of bfloat16'
        print_log(f'On the CPU, forward passes are in {kind}', logger='current')

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast around the plain context."""
        autocast = torch.autocast('cpu', torch.bfloat16, enabled=self.enabled)
        with super().optim_context(model), autocast:
            yield


def cpu_has_bfloat16() -> bool:
    """Whether the processor has bfloat16 instructions (AVX512-BF16 or AMX) that torch uses."""
    # Torch asks these questions itself, but has no public name for the answers.
    names = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')
    return any(getattr(torch.cpu, name, bool)() for name in names)
