import os.path as osp
from collections.abc import Sequence
from urllib.parse import quote

import mmcv
import numpy as np
from mmengine import fileio
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmground.registry import HOOKS
from mmground.structures import GroundingDataSample


@HOOKS.register_module()
class GroundingVisualizationHook(Hook):
    """Draws predictions beside the ground truth while validating and testing.

    In validation the first sample of every ``interval``-th batch goes to the
    visualizer's back ends, as ``val_<sample_id>`` at the training iteration reached:
    the same samples each time, so that their progress can be followed.

    In testing every sample is drawn: into ``test_out_dir`` as ``<sample_id>.png``
    (characters that a file name cannot hold are percent-encoded), or, without it,
    to the back ends as ``test_<sample_id>``. In distributed testing each process
    draws its own samples.

    The runner's visualizer must be a
    :class:`~mmground.visualization.GroundingVisualizer`.

    Args:
        draw: Whether to draw at all.
        interval: Validation batches from one drawn batch to the next.
        show: Show every picture in a window as well.
        wait_time: Seconds for which it is shown; 0 waits for a key.
        test_out_dir: Folder for the pictures of testing, below the runner's
            ``work_dir/timestamp``.
        max_samples: Test samples to draw, in each process. Defaults to all.
        backend_args: File backend of :mod:`mmengine.fileio` for the images.
    """

    def __init__(
        self,
        draw: bool = False,
        interval: int = 50,
        show: bool = False,
        wait_time: float = 0,
        test_out_dir: str | None = None,
        max_samples: int | None = None,
        backend_args: dict | None = None,
    ) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1 batch, got {interval}')
        self.draw = draw
        self.interval = interval
        self.show = show
        self.wait_time = wait_time
        self.test_out_dir = test_out_dir
        self.max_samples = max_samples
        self.backend_args = backend_args
        self._num_tested = 0

    def before_test(self, runner: Runner) -> None:
        """Start to count the samples of a test anew; say where their pictures go."""
        self._num_tested = 0
        if self.draw and self.test_out_dir is not None:
            number = 'every' if self.max_samples is None else f'{self.max_samples} of the'
            runner.logger.info(f'Drawing {number} test sample(s) into {self._test_folder(runner)}')

    def after_test(self, runner: Runner) -> None:
        """Say how many pictures there are."""
        if self.draw and self.test_out_dir is not None:
            runner.logger.info(f'Drew {self._num_tested} picture(s): {self._test_folder(runner)}')

    def _test_folder(self, runner: Runner) -> str:
        return osp.join(runner.work_dir, runner.timestamp, self.test_out_dir)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[GroundingDataSample] | None = None,
    ) -> None:
        """Draw the batch's first sample, every ``interval`` batches.

        Args:
            runner: The runner.
            batch_idx: Index of the batch in the validation loop.
            data_batch: Data of the batch.
            outputs: Its samples, with ground truth and predictions.
        """
        if not self.draw or batch_idx % self.interval != 0:
            return
        sample = outputs[0]
        self._draw(runner, sample, f'val_{quote(sample.sample_id, safe="")}', step=runner.iter)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[GroundingDataSample] | None = None,
    ) -> None:
        """Draw the batch's samples, until ``max_samples`` are drawn.

        Args:
            runner: The runner.
            batch_idx: Index of the batch in the test loop.
            data_batch: Data of the batch.
            outputs: Its samples, with predictions.
        """
        if not self.draw:
            return
        for sample in outputs:
            if self.max_samples is not None and self._num_tested >= self.max_samples:
                return
            self._num_tested += 1
            name = quote(sample.sample_id, safe='')
            out_file = None
            if self.test_out_dir is not None:
                out_file = osp.join(self._test_folder(runner), f'{name}.png')
            self._draw(runner, sample, f'test_{name}', out_file=out_file)

    def _draw(self, runner: Runner, sample: GroundingDataSample, name: str, **kwargs) -> None:
        runner.visualizer.add_datasample(
            name,
            self._read_image(sample.img_path),
            sample,
            show=self.show,
            wait_time=self.wait_time,
            **kwargs,
        )

    def _read_image(self, path: str) -> np.ndarray:
        """RGB, turned upright by its EXIF tag as in the data pipelines."""
        content = fileio.get(path, backend_args=self.backend_args)
        return np.ascontiguousarray(
            mmcv.imfrombytes(content, channel_order='rgb', backend='pillow')
        )
