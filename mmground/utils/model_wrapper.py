from mmengine.model import is_model_wrapper
from torch import nn


def unwrap_model(model: nn.Module) -> nn.Module:
    """The model itself of one that may be wrapped for distributed training.

    Args:
        model: A runner's model.
    """
    return model.module if is_model_wrapper(model) else model
