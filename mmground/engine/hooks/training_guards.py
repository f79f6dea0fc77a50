import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.model import PretrainedInit
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from mmground.registry import HOOKS
from mmground.utils.model_wrapper import unwrap_model

# In a state dict without being learned: published weights may lack them.
_NO_WEIGHTS = ('num_batches_tracked', 'vocab')


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
    samples = [
        str(sample.get('sample_id') or sample.get('img_path'))
        for sample in data_batch['data_samples']
    ]
    return f'{", ".join(broken)} not finite, on the samples {", ".join(samples)}'


@HOOKS.register_module()
class FrozenWeightsHook(Hook):
    """Refuses to train on top of frozen parts that nobody gave weights.

    Parts that are frozen keep their weights for the whole training; random ones make it
    worthless. All of a part's weights must come from a checkpoint (``load_from`` or a
    resumed one) or from a ``Pretrained`` in the part's ``init_cfg``; or the part has loaded
    them all by itself and says so by a true attribute ``has_weights``.
    """

    def __init__(self) -> None:
        self._loaded: frozenset[str] = frozenset()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember which weights a checkpoint brings.

        Args:
            runner: The runner that is about to take the weights over.
            checkpoint: What it read, with the key ``state_dict``, or the weights.
        """
        names = checkpoint.get('state_dict', checkpoint)
        self._loaded = frozenset(name.removeprefix('module.') for name in names)

    def before_train(self, runner: Runner) -> None:
        """Check where the frozen parts' weights come from.

        Args:
            runner: The runner, after it has initialised and loaded the model.

        Raises:
            ValueError: If a frozen part has random weights.
        """
        model = unwrap_model(runner.model)
        lacking = {}
        for part in sorted(getattr(model, 'frozen', ())):
            module = model.get_submodule(part)
            if getattr(module, 'has_weights', False):
                continue
            given = _pretrained_names(module)
            weights = [
                name for name in module.state_dict() if name.split('.')[-1] not in _NO_WEIGHTS
            ]
            missing = [
                name
                for name in weights
                if name not in given and f'{part}.{name}' not in self._loaded
            ]
            if missing:
                lacking[part] = f'{len(missing)} of {len(weights)}, such as {part}.{missing[0]}'
        if lacking:
            source = runner._load_from
            where = f'the checkpoint {source} lacks them' if source else 'no checkpoint is given'
            raise ValueError(
                f'the frozen parts {list(lacking)} have random weights '
                f'({"; ".join(lacking.values())}), {where}: set load_from to a checkpoint that has '
                'them (tools/model_converters/convert.py writes one from published weights), give '
                "each an init_cfg=dict(type='Pretrained', checkpoint=..., prefix=...) where prefix "
                'is what stands before the names in that checkpoint, or train them (model.frozen)'
            )


def _pretrained_names(module: nn.Module) -> set[str]:
    """Names of the weights that the module's ``init_cfg`` loads, as the module calls them.

    MMEngine only warns if that is not all of them, or none, as with a wrong prefix.
    """
    names = set()
    init_cfg = getattr(module, 'init_cfg', None) or []
    for cfg in [init_cfg] if isinstance(init_cfg, dict) else init_cfg:
        if cfg.get('type') not in ('Pretrained', 'PretrainedInit', PretrainedInit):
            continue
        checkpoint = CheckpointLoader.load_checkpoint(cfg['checkpoint'], map_location='cpu')
        prefix = cfg.get('prefix') or ''
        prefix += '.' if prefix and not prefix.endswith('.') else ''
        for name in checkpoint.get('state_dict', checkpoint):
            name = name if prefix else name.removeprefix('module.')
            if name.startswith(prefix):
                names.add(name.removeprefix(prefix))
    return names
