from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmground.registry import METRICS

from .kept_results import to_keep, unique_results


@METRICS.register_module()
class PointAccuracy(BaseMetric):
    """Share of expressions whose best point lies on the target, in percent.

    A grounder that scores the points of a grid hits a target where the point of the highest score
    is one at which the soft target is above 0. That needs no localiser, so it can be measured
    often; the official code of PBREC chooses its checkpoint by it. It says where a
    model points and nothing of boxes and masks: quote :class:`ReferringMetric`.

    Values are ``point/accuracy`` and the number of expressions, ``point/num_expressions``. A
    sample that comes more than once, because a distributed sampler filled up its last batch, is
    counted once. Expressions without a target do not count.

    Args:
        collect_device: See :class:`mmengine.evaluator.BaseMetric`.
        prefix: First part of the names. None means ``'point'``.
        collect_dir: See :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix = 'point'

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep the hits of a batch.

        Args:
            data_batch: Not used.
            data_samples: :class:`GroundingDataSample` objects with ``pred_phrases.point_hit``,
                bool of shape (N, ), and ``links``, in the form of nested dicts.

        Raises:
            KeyError: If a sample lacks it.
        """
        for sample in data_samples:
            predicted = sample.get('pred_phrases', {})
            if 'point_hit' not in predicted:
                raise KeyError(
                    f'sample {sample["sample_id"]} has no pred_phrases.point_hit: the head scores '
                    'no points, or the sample has no annotations'
                )
            hits, linked = predicted['point_hit'].bool().cpu(), sample['links'][:, 0].cpu()
            has_target = linked.bincount(minlength=len(hits)) > 0
            self.results.append(dict(sample_id=sample['sample_id'], hits=to_keep(hits[has_target])))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average over expressions; MMEngine calls it on the main process only.

        Args:
            results: What :meth:`process` kept, of all processes.

        Returns:
            Measures by name, without the prefix.
        """
        results = unique_results(results, 'PointAccuracy')
        hits = np.concatenate([result['hits'] for result in results])
        accuracy = 100 * float(hits.mean()) if len(hits) else float('nan')
        print_log(f'Best point on the target: {accuracy:.2f} % of {len(hits)}', logger='current')
        return {'accuracy': accuracy, 'num_expressions': float(len(hits))}
