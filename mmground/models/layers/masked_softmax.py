import torch
from torch import Tensor

_EPS = 1e-6


def masked_softmax(
    scores: Tensor, mask: Tensor, dim: int = -1, valid: Tensor | None = None
) -> Tensor:
    """Softmax over the unmasked slots, as the official code of ReIR writes it.

    The largest score is sought with masked slots counting as 0, and 1e-6 stands in the denominator:
    a row sums to a little less than 1, to much less where a slot is masked and all scores are very
    negative, and to 0 where everything is masked. :func:`plain_softmax` is the exact one.

    Args:
        scores: Any shape.
        mask: True, or 1, at slots that take part. Broadcasts with the scores.
        dim: Dimension along which to normalise.
        valid: False at slots that are mere padding: they do not count as 0 either, so that rows are
            what they are without padding. Broadcasts with the scores. None: there are none.

    Returns:
        Weights in the scores' shape, 0 at masked slots.

    Example:
        >>> masked_softmax(torch.tensor([0.0, 0.0, 9.0]), torch.tensor([True, True, False]))
        tensor([0.5000, 0.5000, 0.0000])
    """
    if not scores.numel():
        return scores
    mask = torch.broadcast_to(mask, scores.shape).bool()
    candidates = scores.masked_fill(~mask, 0)
    if valid is not None:
        mask = mask & valid
        candidates = candidates.masked_fill(~valid, -torch.inf)
    # Filled in before the exponential: a large masked score would become infinite.
    shifted = (scores - candidates.amax(dim, keepdim=True)).masked_fill(~mask, 0)
    weights = shifted.exp() * mask
    return weights / (weights.sum(dim, keepdim=True) + _EPS)


def plain_softmax(scores: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax over the unmasked slots: each row sums to 1, or to 0 where everything is masked.

    Args:
        scores: Any shape.
        mask: True at slots that take part. Broadcasts with the scores.
        dim: Dimension along which to normalise.

    Returns:
        Weights in the scores' shape, 0 at masked slots.

    Example:
        >>> plain_softmax(torch.tensor([-99.0, 0.0]), torch.tensor([True, False]))
        tensor([1., 0.])
    """
    # The lowest finite number, because a row of infinities would have no weights.
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(dim) * mask
