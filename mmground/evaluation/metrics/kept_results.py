"""What the metrics do alike with the results that they keep."""

import logging

import numpy as np
from mmengine.logging import print_log
from torch import Tensor


def to_keep(values: Tensor) -> np.ndarray:
    """An array with memory of its own.

    A small tensor that is kept lies between the large ones of its sample, so that the heap cannot
    join their memory again: it would grow by 9 MB a sample.
    """
    return values.cpu().numpy().copy()


def unique_results(results: list[dict], metric: str) -> list[dict]:
    """The first result of each sample.

    A distributed sampler fills up its last batch with samples that came before.

    Args:
        results: Dicts with ``sample_id``.
        metric: Who counts, for the warning if there are repeated results.

    Raises:
        ValueError: If there is no result.
    """
    if not results:
        raise ValueError('nothing to evaluate: no sample was processed')
    first: dict[str, dict] = {}
    for result in results:
        first.setdefault(result['sample_id'], result)
    if len(first) < len(results):
        print_log(
            f'{metric} counts each sample once and leaves out {len(results) - len(first)} '
            'repeated results',
            logger='current',
            level=logging.WARNING,
        )
    return list(first.values())
