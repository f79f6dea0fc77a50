from mmcv.cnn import ConvModule


def sigma_settings(norm_cfg: dict | None, act_cfg: dict | None) -> dict[str, dict]:
    """JMCELN's sigma (Eqs. 1-2) behind a convolution: normalisation and activation.

    Args:
        norm_cfg: The normalisation; None is that of the batch.
        act_cfg: The activation; None is a LeakyReLU with a slope of 0.1, a choice.

    Returns:
        ``norm_cfg`` and ``act_cfg`` of a ``ConvModule``.
    """
    return dict(
        norm_cfg=norm_cfg or dict(type='BN'),
        act_cfg=act_cfg or dict(type='LeakyReLU', negative_slope=0.1),
    )


class PlainConvModule(ConvModule):
    """mmcv's convolution, normalisation and activation with PyTorch's initialisation.

    The parent draws its weights anew on construction (Kaiming normal); the official code
    of the systems here does not.
    """

    def init_weights(self) -> None:
        """Leave the weights as they were drawn."""
