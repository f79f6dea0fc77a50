from mmcv.cnn import ConvModule


class PlainConvModule(ConvModule):
    """mmcv's convolution, normalisation and activation with PyTorch's initialisation.

    The parent draws its weights anew on construction (Kaiming normal); the official code
    of the systems here does not.
    """

    def init_weights(self) -> None:
        """Leave the weights as they were drawn."""
