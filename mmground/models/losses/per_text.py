from torch import Tensor


def sum_per_text(values: Tensor, text_index: Tensor, num_texts: int) -> Tensor:
    """Add up what belongs to the same text.

    Args:
        values: Shape (n, ...).
        text_index: The text of each, int64. Shape (n, ).
        num_texts: Number of texts, T.

    Returns:
        Shape (T, ...); 0 for a text without any.
    """
    return values.new_zeros((num_texts, *values.shape[1:])).index_add(0, text_index, values)


def check_reduction(reduction: str) -> str:
    """Return how the parts of a text's loss are put together, if it is ``'mean'`` or ``'sum'``.

    Raises:
        ValueError: If it is something else.
    """
    if reduction not in ('mean', 'sum'):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    return reduction
