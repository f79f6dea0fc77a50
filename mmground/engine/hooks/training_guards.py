from collections.abc import Iterator

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmground.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops the training at the first loss that is not a finite number.

    A model that has met NaN does not recover, and its predictions are empty masks that a
    metric scores without complaint. Where several processes train, all of them stop at the
    same iteration with the same message; otherwise those with a finite loss would take
    over the broken gradients, or wait for the process that has stopped.
    """

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Check the losses of an iteration, with or without gradient accumulation.

        Args:
            runner: The runner.
            batch_idx: Index of the batch in the training loop.
            data_batch: The batch, for the names of its samples.
            outputs: What the model logged, with ``loss``.

        Raises:
            FloatingPointError: If the loss of any process is infinite or not a number.
        """
        broken = torch.isfinite(torch.as_tensor(outputs['loss'])).logical_not().int()
        all_reduce(broken, op='max')
        if not broken:
            return
        reports = all_gather_object(_report(data_batch, outputs))
        if get_world_size() > 1:
            reports = [
                report and f'process {rank}: {report}' for rank, report in enumerate(reports)
            ]
        raise FloatingPointError(
            f'iteration {runner.iter}: {"; ".join(filter(None, reports))}. Training stops here: '
            'go on from an earlier checkpoint with a lower learning rate, gradient clipping, or '
            'without mixed precision'
        )


def _report(data_batch: dict, outputs: dict) -> str:
    """What is not finite in one process's outputs, empty where everything is."""
    broken = [name for name, value in outputs.items() if not torch.as_tensor(value).isfinite()]
    if not broken:
        return ''
    samples = [str(sample.sample_id) for sample in data_batch['data_samples']]
    return f'{", ".join(broken)} not finite, on the samples {", ".join(samples)}'


@HOOKS.register_module()
class FrozenWeightsHook(Hook):
    """Refuses to train on top of frozen parts that nobody gave weights.

    Parts that are frozen keep their weights for the whole training; random ones make it
    worthless. They must come from a checkpoint (``load_from`` or a resumed one) or from a
    ``Pretrained`` in the part's ``init_cfg``.
    """

    def before_train(self, runner: Runner) -> None:
        """Check where the frozen parts' weights come from.

        Args:
            runner: The runner, after it has initialised and loaded the model.

        Raises:
            ValueError: If a frozen part has random weights.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        frozen = getattr(model, 'frozen', ())
        if runner._load_from or runner._resume:
            return
        random = sorted(
            name
            for name in frozen
            if not any(
                cfg.get('type') in ('Pretrained', 'PretrainedInit')
                for cfg in _init_cfgs(model.get_submodule(name))
            )
        )
        if random:
            raise ValueError(
                f'the frozen parts {random} have random weights: set load_from to a checkpoint '
                "that has them, give each init_cfg=dict(type='Pretrained', checkpoint=...), or "
                'train them (model.frozen)'
            )


def _init_cfgs(module) -> Iterator[dict]:
    init_cfg = getattr(module, 'init_cfg', None) or []
    return iter([init_cfg] if isinstance(init_cfg, dict) else init_cfg)
