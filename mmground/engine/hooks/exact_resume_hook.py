import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmground.registry import HOOKS
from mmground.utils.randomness import Stream, seed_generators


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Makes a training that was stopped and resumed end where it would have ended anyway.

    A runner's checkpoint holds weights, optimizer and schedules, but no state of random
    generators. Nor is that needed: before every iteration this hook seeds the generators of
    Python, NumPy and PyTorch from (seed, rank, iteration), so that what is drawn in an
    iteration, such as dropout, does not depend on what happened before it. Processes
    draw different numbers. Nothing is added to the checkpoint.

    What the data pipeline draws is seeded per sample, by a
    :class:`~mmground.datasets.samplers.SeededDefaultSampler` or a
    :class:`~mmground.datasets.samplers.SeededInfiniteSampler`. With the former, an
    ``EpochBasedTrainLoop`` that resumes within an epoch goes on with the rest of it;
    MMEngine's would start the epoch over.

    The same weights, bit for bit, take the same number of processes and operations that are
    deterministic; on a GPU, set ``randomness.deterministic``. Checkpoints must not lie
    within an accumulation of gradients.
    """

    # What other hooks draw in an iteration is reproducible too.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._resumed = False

    def before_train(self, runner: Runner) -> None:
        """Give the sampler the seed of the training that is resumed.

        Args:
            runner: The runner, after it has loaded a checkpoint.
        """
        self._resumed = runner._resume and runner.iter > 0
        if not self._resumed:
            return
        # The sampler was built before the checkpoint was read. Where the ranks' seeds differ,
        # the sampler has one of its own.
        same_seed = not getattr(runner, '_randomness_cfg', {}).get('diff_rank_seed', False)
        sampler = runner.train_dataloader.sampler
        if same_seed and hasattr(sampler, 'seed'):
            sampler.seed = runner.seed
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if runner.iter % counts:
            print_log(
                f'The checkpoint of iteration {runner.iter} lies within an accumulation of '
                f'{counts} gradients, the first {runner.iter % counts} of which are lost: let '
                'the interval of CheckpointHook be a multiple of accumulative_counts',
                logger='current',
                level=logging.WARNING,
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed what is drawn between epochs; go to the place in the epoch that was reached.

        Args:
            runner: The runner.
        """
        seed_generators(runner.seed, Stream.EPOCH, runner.rank, runner.epoch)
        if self._resumed and isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._go_on_within_epoch(runner)
        self._resumed = False

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Seed what is drawn in an iteration.

        Args:
            runner: The runner.
            batch_idx: Index of the batch in the training loop.
            data_batch: The batch.
        """
        seed_generators(runner.seed, Stream.ITERATION, runner.rank, runner.iter)

    @staticmethod
    def _go_on_within_epoch(runner: Runner) -> None:
        loader = runner.train_dataloader
        # All of them where the checkpoint was saved between an epoch's last iteration and
        # its end: then the end is all that is left.
        done = runner.iter - runner.epoch * len(loader)
        if done == 0:
            return
        if not 0 < done <= len(loader):
            problem = (
                f'iteration {runner.iter} is no part of epoch {runner.epoch + 1} of '
                f'{len(loader)} iterations: data or batch size have changed'
            )
        elif loader.batch_size is None or not hasattr(loader.sampler, 'resume_at'):
            problem = (
                f'{type(loader.sampler).__name__} cannot start at iteration {done} of an epoch; '
                'a SeededDefaultSampler without batch_sampler can'
            )
        else:
            loader.sampler.resume_at(done * loader.batch_size)
            print_log(
                f'Epoch {runner.epoch + 1} goes on after {done} of {len(loader)} iterations',
                logger='current',
            )
            return
        print_log(
            f'The resumed epoch starts over: {problem}', logger='current', level=logging.WARNING
        )
