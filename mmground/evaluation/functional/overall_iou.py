import numpy as np


def overall_iou(intersections: np.ndarray, unions: np.ndarray) -> float:
    """Cumulative IoU: all intersections over all unions.

    Large targets weigh more than small ones. It is the overall IoU (oIoU) or cIoU of referring
    expression segmentation, other than the mean of the expressions' IoUs (mIoU).

    Args:
        intersections: Pixels of each prediction on its target. Shape (N, ).
        unions: Pixels of prediction and target together. Shape (N, ).

    Returns:
        IoU in [0, 1]; 1 if all are empty, and NaN if there are no expressions.
    """
    if not len(unions):
        return float('nan')
    # In integers: floats of single precision would lose pixels in sums over a data set.
    total = int(np.sum(unions, dtype=np.int64))
    return int(np.sum(intersections, dtype=np.int64)) / total if total else 1.0
