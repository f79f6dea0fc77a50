from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class SegmentStatistics(NamedTuple):
    """Mean and variance of the rows of each of G segments.

    Args:
        mean: Shape (G, C).
        var: Biased, as rows are normalised with. Shape (G, C).
        counts: Rows of each segment, int64. Shape (G, ).
    """

    mean: Tensor
    var: Tensor
    counts: Tensor

    def select(self, index: Tensor) -> 'SegmentStatistics':
        """Those of some segments, which may repeat."""
        return SegmentStatistics(*(own[index] for own in self))


class SegmentBatchNorm1d(nn.Module):
    """Batch normalisation whose training statistics are those of a segment of the rows.

    A network that runs image by image normalises each image by itself. Here all images are in one
    tensor, and rows are normalised with the statistics of their own segment. Running statistics
    move as if the segments had come one after another; since a segment may be normalised twice
    before the next comes, :meth:`track` moves them, once, after all has been normalised.

    With ``per_segment=False`` the statistics are those of all rows of a process. Parameters and
    buffers are named as those of ``nn.BatchNorm1d``, which this is not: what turns those into
    others (``sync_bn``) leaves it alone.

    Args:
        num_features: Channels, C.
        per_segment: Whether each segment has statistics of its own.
        single_row: What becomes of a segment of one row in training: ``'zero'`` normalises it with
            itself, so that only the bias is left, and pulls the running variance towards 0;
            ``'running'`` normalises it with the running statistics and leaves those alone.
        eps: Added to the variance.
        momentum: How far a segment moves the running statistics.

    Raises:
        ValueError: If there is no such ``single_row``.
    """

    def __init__(
        self,
        num_features: int,
        per_segment: bool = True,
        single_row: str = 'zero',
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if single_row not in ('zero', 'running'):
            raise ValueError(f"single_row must be 'zero' or 'running', got {single_row!r}")
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer('running_mean', torch.zeros(num_features))
        self.register_buffer('running_var', torch.ones(num_features))
        self.register_buffer('num_batches_tracked', torch.tensor(0))
        self.eps = eps
        self.momentum = momentum
        self.per_segment = per_segment
        self.single_row = single_row

    def forward(
        self, rows: Tensor, segment: Tensor, num_segments: int
    ) -> tuple[Tensor, SegmentStatistics | None]:
        """Normalise.

        Args:
            rows: Shape (n, C).
            segment: The segment of each row. Shape (n, ), int64.
            num_segments: Number of segments, G. One without rows is allowed.

        Returns:
            The normalised rows in float32, (n, C), and in training mode the statistics to
            :meth:`track`. They are always of G segments: with ``per_segment=False`` of G equal
            ones.
        """
        rows = rows.float()
        if not self.training:
            return self._scale(rows, self.running_mean, self.running_var), None
        statistics = self._statistics(rows, segment, num_segments)
        mean, var = statistics.mean, statistics.var
        if self.single_row == 'running':
            alone = (statistics.counts == 1)[:, None]
            mean = torch.where(alone, self.running_mean, mean)
            var = torch.where(alone, self.running_var, var)
        normed = self._scale(rows, mean[segment], var[segment])
        return normed, SegmentStatistics(*(own.detach() for own in statistics))

    def _scale(self, rows: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return (rows - mean) * (var + self.eps).rsqrt() * self.weight + self.bias

    def _statistics(self, rows: Tensor, segment: Tensor, num_segments: int) -> SegmentStatistics:
        if not self.per_segment:
            # One segment, of which all groups are copies.
            whole = self._of_segments(rows, torch.zeros_like(segment), 1)
            return whole.select(segment.new_zeros(num_segments))
        return self._of_segments(rows, segment, num_segments)

    @staticmethod
    def _of_segments(rows: Tensor, segment: Tensor, num_segments: int) -> SegmentStatistics:
        counts = torch.bincount(segment, minlength=num_segments)
        divisor = counts.clamp(min=1)[:, None]
        empty = rows.new_zeros(num_segments, rows.shape[1])
        mean = empty.index_add(0, segment, rows) / divisor
        var = empty.index_add(0, segment, (rows - mean[segment]) ** 2) / divisor
        return SegmentStatistics(mean, var, counts)

    @torch.no_grad()
    def track(self, passes: Sequence[SegmentStatistics]) -> None:
        """Move the running statistics as if segment after segment had made all its passes.

        Args:
            passes: The statistics of each pass, of the same G segments.
        """
        if not self.per_segment:
            passes = [own.select(own.counts.new_zeros(1)) for own in passes]
        # Segment 0 of each pass, segment 1 of each pass, and so on.
        mean, var, counts = (
            torch.stack(own, dim=1).flatten(0, 1) for own in zip(*passes, strict=True)
        )
        seen = counts > (1 if self.single_row == 'running' else 0)
        mean, var, counts = mean[seen], var[seen], counts[seen]
        unbiased = var * (counts / (counts - 1).clamp(min=1))[:, None]
        steps = len(counts)
        later = torch.arange(steps - 1, -1, -1, device=mean.device)
        share = self.momentum * (1 - self.momentum) ** later[:, None]
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.mul_((1 - self.momentum) ** steps).add_((share * new).sum(0))
        self.num_batches_tracked += steps
