"""Several processes on a machine without a GPU."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed
from mmengine.registry import MODEL_WRAPPERS
from mmengine.utils.dl_utils import set_multi_processing
from torch.nn.parallel import DistributedDataParallel


def prepare_distributed_cpu(cfg: Config) -> None:
    """Let the processes of a launcher train or evaluate on the CPU.

    MMEngine's runner selects a GPU for each process and wraps the model for it. Where there
    is none, or ``CUDA_VISIBLE_DEVICES=-1`` hides it, this joins the processes before the
    runner does, by gloo instead of NCCL, and says in the config that the model stays where
    it is. Does nothing with a GPU, or without a launcher.

    Args:
        cfg: The config of the runner, changed in place. ``launcher`` names what started the
            processes, ``env_cfg.dist_cfg`` has the other arguments of
            :func:`mmengine.dist.init_dist`.
    """
    if cfg.get('launcher', 'none') == 'none' or get_device() != 'cpu':
        return
    if not is_distributed():
        env_cfg = cfg.get('env_cfg', {})
        # The runner's order: a start method has to be set first.
        set_multi_processing(**env_cfg.get('mp_cfg', {}), distributed=True)
        dist_cfg = dict(env_cfg.get('dist_cfg', {}))
        if dist_cfg.get('backend', 'nccl') == 'nccl':
            dist_cfg['backend'] = 'gloo'
        with _no_gpu_to_select():
            init_dist(cfg.launcher, **dist_cfg)
        atexit.register(_leave_group)
    wrapper = cfg.get('model_wrapper_cfg')
    if wrapper is None:
        # As the runner does, apart from the device.
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
            device_ids=None,
        )
        return
    kind = wrapper.get('type', 'MMDistributedDataParallel')
    kind = MODEL_WRAPPERS.get(kind) if isinstance(kind, str) else kind
    if isinstance(kind, type) and issubclass(kind, DistributedDataParallel):
        wrapper.setdefault('device_ids', None)


def _leave_group() -> None:
    # The wrapped model keeps the group and its threads, and the runner is in a cycle with it. A
    # thread that outlives the interpreter aborts when it frees a tensor.
    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def _no_gpu_to_select() -> Iterator[None]:
    """MMEngine knows how each launcher names ranks, but ends by selecting a GPU."""
    set_device, torch.cuda.set_device = torch.cuda.set_device, lambda device: None
    try:
        yield
    finally:
        torch.cuda.set_device = set_device
