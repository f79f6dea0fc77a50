from mmengine.dist import is_main_process
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner

from mmground.registry import HOOKS


@HOOKS.register_module()
class MainProcessLoggerHook(LoggerHook):
    """MMEngine's logger hook, whose file of test results is written by one process.

    MMEngine's own has every process write the same file at the same time. Their values differ
    where times are among them, so what the longer text leaves behind the shorter one is no JSON.
    """

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Log the results, and write them to a JSON file.

        Args:
            runner: The runner.
            metrics: The results by name.
        """
        if is_main_process():
            super().after_test_epoch(runner, metrics)
