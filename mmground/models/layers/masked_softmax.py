import torch
from torch import Tensor

_EPS = 1e-6


def masked_softmax(scores: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax over the unmasked slots, as the official code of ReIR writes it.

    The largest score is sought with masked slots counting as 0, and 1e-6 stands in the denominator:
    a row sums to a little less than 1, to much less where all its scores are very
    negative, and to 0 where everything is masked.

    Args:
        scores: Any shape.
        mask: True, or 1, at slots that take part. Broadcasts with the scores.
        dim: Dimension along which to normalise.

    Returns:
        Weights in the scores' shape, 0 at masked slots.

    Example:
        >>> masked_softmax(torch.tensor([0.0, 0.0, 9.0]), torch.tensor([True, True, False]))
        tensor([0.5000, 0.5000, 0.0000])
    """
    mask = torch.broadcast_to(mask, scores.shape).bool()
    # Filled in before the exponential: a large masked score would become infinite.
    scores = scores.masked_fill(~mask, 0)
    weights = (scores - scores.amax(dim, keepdim=True)).exp() * mask
    return weights / (weights.sum(dim, keepdim=True) + _EPS)
