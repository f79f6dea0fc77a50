from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmground.registry import HOOKS
from mmground.utils.model_wrapper import unwrap_model


@HOOKS.register_module()
class BroadcastBuffersHook(Hook):
    """Gives all processes the running statistics of the first before they are used.

    Gradients are averaged over the processes, buffers are not: each process has its own
    running statistics of batch normalisation, but only those of the first are saved. With
    this hook a validation scores the model that is saved, and all processes end with the
    same one. Integer buffers (counters, a vocabulary) are equal anyway.
    """

    def before_train(self, runner: Runner) -> None:
        """Check that loading a checkpoint has not changed the shape of a parameter.

        The wrapper of a model has buffers for the gradients of the shapes that it first saw.

        Args:
            runner: The runner, with the checkpoint loaded.

        Raises:
            RuntimeError: If it has, and the model is wrapped.
        """
        if not is_model_wrapper(runner.model):
            return
        names = [
            name
            for name, own in runner.model.module.named_parameters()
            if getattr(own, 'refitted', False)
        ]
        if names:
            raise RuntimeError(
                f'the checkpoint has other numbers of rows than the config gives {names}: other '
                'words or relations. Several processes cannot go on with it: set the files of the '
                "config (vocab_file, num_relations) to those of the checkpoint's training, or "
                'train in one process'
            )

    def before_val_epoch(self, runner: Runner) -> None:
        """Broadcast before a validation.

        Args:
            runner: The runner.
        """
        self._broadcast(runner)

    def after_train(self, runner: Runner) -> None:
        """Broadcast at the end of the training.

        Args:
            runner: The runner.
        """
        self._broadcast(runner)

    @staticmethod
    def _broadcast(runner: Runner) -> None:
        model = unwrap_model(runner.model)
        for buffer in model.buffers():
            if buffer.is_floating_point():
                broadcast(buffer)
