from torch import nn

from mmground.utils.model_wrapper import unwrap_model


def test_a_model_is_itself_wrapped_or_not():
    model = nn.Linear(1, 1)
    assert unwrap_model(model) is model
    assert unwrap_model(nn.DataParallel(model)) is model
