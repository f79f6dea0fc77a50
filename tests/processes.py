"""Several processes on the CPU, joined as those of a launcher are, without new imports."""

import multiprocessing
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from torch import distributed


def run_processes(function: Callable, folder: Path, *args, world_size: int = 2) -> list:
    """Run ``function(rank, *args)`` in forked processes; the results, or raised errors, by rank."""
    context = multiprocessing.get_context('fork')
    results = context.Queue()
    store = f'file://{folder}/store'
    processes = [
        context.Process(target=_run, args=(results, store, rank, world_size, function, args))
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    by_rank = dict(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    return [by_rank[rank] for rank in range(world_size)]


def _run(results, store, rank, world_size, function, args):
    # As in the workers of a data loader: the threads of the parent do not survive a fork.
    torch.set_num_threads(1)
    try:
        distributed.init_process_group('gloo', init_method=store, rank=rank, world_size=world_size)
        result = function(rank, *args)
        distributed.destroy_process_group()
    except Exception as error:
        error.add_note(traceback.format_exc())
        result = error
    results.put((rank, result))
