from mmengine.optim import MultiStepLR

from mmground.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class PartMultiStepLR(MultiStepLR):
    """Multi-step decay of the learning rate, except for parts that keep theirs.

    A parameter group that has ``constant_lr=True`` (set it with the learning rate's
    multiplier in ``paramwise_cfg.custom_keys``) is left alone by this scheduler, as the
    text encoder's in Sec. 4.2 of `PPMN <https://doi.org/10.1145/3503161.3548086>`_.

    Example:
        >>> optim_wrapper = dict(
        ...     optimizer=dict(type='Adam', lr=1e-4),
        ...     paramwise_cfg=dict(custom_keys={
        ...         'text_encoder': dict(lr_mult=0.1, constant_lr=True)}))
    """

    def _get_value(self) -> list[float]:
        return [
            group[self.param_name] if group.get('constant_lr') else value
            for group, value in zip(self.optimizer.param_groups, super()._get_value(), strict=True)
        ]
