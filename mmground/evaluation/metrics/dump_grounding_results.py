from collections.abc import Sequence

from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmground.evaluation.dumped_results import check_results_name, sample_to_line, write_results
from mmground.registry import METRICS


@METRICS.register_module()
class DumpGroundingResults(BaseMetric):
    """Writes predictions beside their ground truth to a file, and measures nothing.

    The file is JSON lines with masks as COCO run-length codes, see
    :mod:`mmground.evaluation.dumped_results`: small, readable by any program, and safe to
    read from anybody. ``tools/analysis_tools`` has programs that read it. A sample that
    comes more than once, because a distributed sampler filled up its last batch, is
    written once; samples stand in the order in which they come.

    Args:
        out_file: The file, ``.jsonl`` or, compressed, ``.jsonl.gz``. An existing one is
            replaced.
        collect_device: See :class:`mmengine.evaluator.BaseMetric`.
        collect_dir: See :class:`mmengine.evaluator.BaseMetric`.

    Example:
        >>> test_evaluator = [
        ...     dict(type='PNGMetric'),
        ...     dict(type='DumpGroundingResults', out_file='results.jsonl.gz')]
    """

    def __init__(
        self, out_file: str, collect_device: str = 'cpu', collect_dir: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        check_results_name(out_file)
        self.out_file = out_file

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep the samples of a batch, encoded.

        Args:
            data_batch: Not used.
            data_samples: :class:`GroundingDataSample` objects with ``pred_phrases``, in the
                form of nested dicts.
        """
        self.results += [(sample['sample_id'], sample_to_line(sample)) for sample in data_samples]

    def compute_metrics(self, results: list[tuple[str, str]]) -> dict:
        """Write the file; MMEngine calls it on the main process only.

        Args:
            results: What :meth:`process` kept, of all processes.

        Returns:
            Nothing: an empty dict.
        """
        lines: dict[str, str] = {}
        for sample_id, line in results:
            lines.setdefault(sample_id, line)
        categories = (self.dataset_meta or {}).get('categories', ())
        write_results(
            self.out_file,
            lines.values(),
            [dict(id=category['id'], name=category['name']) for category in categories],
        )
        print_log(f'Results of {len(lines)} samples: {self.out_file}', logger='current')
        return {}
