from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmground.registry import HOOKS
from mmground.utils.model_wrapper import unwrap_model


@HOOKS.register_module()
class RefinementStartHook(Hook):
    """Lets a :class:`WeakGroundingHead` move boxes in training from an iteration on.

    Offsets that are not yet trained would spoil the boxes that the fine stage learns from. The
    switch depends on the number of the iteration alone, so a resumed training is as it was; and it
    is for training alone: in evaluation and inference, boxes are moved as the head's
    ``test_cfg.refine`` says, at any time.

    Args:
        start: Iterations without; 7501 in the official code, whose counter must exceed 7500.

    Example:
        >>> custom_hooks = [dict(type='RefinementStartHook', start=7501)]
    """

    def __init__(self, start: int) -> None:
        self.start = start

    def before_train(self, runner: Runner) -> None:
        """Check that the model has something to switch.

        Args:
            runner: The runner, with the model built.

        Raises:
            ValueError: If its head moves no boxes.
        """
        if not hasattr(_head(runner), 'refining'):
            raise ValueError(
                'RefinementStartHook: the head of the model moves no boxes (it has no attribute '
                'refining); take the hook out of the config'
            )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Set the switch for an iteration.

        Args:
            runner: The runner.
            batch_idx: Index of the batch in the training loop.
            data_batch: The batch.
        """
        _head(runner).refining = runner.iter >= self.start


def _head(runner: Runner):
    model = unwrap_model(runner.model)
    return getattr(model, 'head', None)
