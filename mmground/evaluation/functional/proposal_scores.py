import torch
from torch import Tensor


def proposal_scores(
    ious: Tensor,
    drawn: Tensor | None = None,
    threshold: float = 0.5,
    strict: bool = False,
) -> tuple[Tensor, Tensor]:
    """What choosing among the proposals of an image can reach, and what chance does.

    Table 1 of `PBREC <https://github.com/VILAN-Lab/PBREC-MT>`_ is the mean of the first over
    all expressions: no system that chooses one of the proposals can be more accurate.

    Args:
        ious: IoU of every proposal with the target of every expression; NaN counts as 0. Shape
            (P, E).
        drawn: Proposals among which chance draws uniformly, such as those of points that lie on
            the image. Boolean, shape (P, ). None draws among all.
        threshold: IoU that makes a proposal correct.
        strict: Whether an IoU that equals the threshold misses it.

    Returns:
        Whether some proposal is correct, boolean, and the probability that a drawn one is,
        float64, 0 where there is none to draw. Both of shape (E, ).
    """
    correct = ious > threshold if strict else ious >= threshold
    among = correct if drawn is None else correct[drawn]
    return correct.any(0), among.sum(0, dtype=torch.float64) / max(len(among), 1)
