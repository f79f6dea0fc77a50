import json
from types import SimpleNamespace
from unittest.mock import Mock

from processes import run_processes

from mmground.registry import HOOKS


def _write(rank: int, folder: str) -> None:
    hook = HOOKS.build(dict(type='MainProcessLoggerHook'))
    hook.json_log_path = 'results.json' if rank == 0 else 'of_another_process.json'
    results = {'referring/mIoU': 12.5, 'time': 0.25 + rank}
    runner = SimpleNamespace(
        log_dir=folder, logger=Mock(), test_dataloader=[], log_processor=Mock()
    )
    runner.log_processor.get_log_after_epoch.return_value = (results, 'text')
    hook.after_test_epoch(runner, results)


def test_one_process_writes_the_results_of_a_test(tmp_path):
    folder = tmp_path / 'log'
    folder.mkdir()
    for outcome in run_processes(_write, tmp_path, str(folder)):
        assert outcome is None, outcome
    (written,) = folder.iterdir()
    assert written.name == 'results.json'
    assert json.loads(written.read_text()) == {'referring/mIoU': 12.5, 'time': 0.25}
