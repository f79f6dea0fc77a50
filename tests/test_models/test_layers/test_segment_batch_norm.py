import pytest
import torch
from torch import nn

from mmground.models.layers.segment_batch_norm import SegmentBatchNorm1d

SIZES = (4, 0, 3, 1, 5)


def _norms(**kwargs):
    torch.manual_seed(0)
    own, theirs = SegmentBatchNorm1d(6, **kwargs), nn.BatchNorm1d(6)
    with torch.no_grad():
        own.weight.uniform_(0.5, 2)
        own.bias.normal_()
    theirs.load_state_dict(own.state_dict())
    return own, theirs


def _rows():
    generator = torch.Generator().manual_seed(1)
    rows = 2 * torch.randn(sum(SIZES), 6, generator=generator) + 1
    segment = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    order = torch.randperm(len(rows), generator=generator)
    return rows[order], segment[order]


def test_segments_are_normalised_one_after_another():
    """In two passes each, as a network does that runs image by image."""
    own, theirs = _norms()
    rows, segment = _rows()
    other = rows.flip(0)
    first, statistics = own(rows, segment, len(SIZES))
    second, more = own(other, segment, len(SIZES))
    own.track([statistics, more])
    for index, size in enumerate(SIZES):
        for inputs, outputs in ((rows, first), (other, second)):
            mine = inputs[segment == index]
            if size == 1:
                # PyTorch refuses a single row; two equal ones are the same.
                mine = mine.expand(2, -1)
            if size:
                torch.testing.assert_close(
                    outputs[segment == index], theirs(mine)[:size], atol=1e-5, rtol=1e-5
                )
    assert own.num_batches_tracked == theirs.num_batches_tracked == 8
    torch.testing.assert_close(own.running_mean, theirs.running_mean)
    torch.testing.assert_close(own.running_var, theirs.running_var)


def test_gradients_are_those_of_the_segments():
    own, theirs = _norms()
    rows, segment = _rows()
    weights = torch.randn_like(rows)
    ours, other = (rows.clone().requires_grad_() for _ in range(2))
    (own(ours, segment, len(SIZES))[0] * weights).sum().backward()
    for index, size in enumerate(SIZES):
        if size > 1:
            chosen = segment == index
            (theirs(other[chosen]) * weights[chosen]).sum().backward()
    several = torch.tensor(SIZES)[segment] > 1
    torch.testing.assert_close(ours.grad[several], other.grad[several], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.grad[~several], torch.zeros(1, 6))


def test_one_segment_is_plain_batch_normalisation():
    own, theirs = _norms(per_segment=False)
    rows, segment = _rows()
    outputs, statistics = own(rows, segment, len(SIZES))
    own.track([statistics.select(torch.tensor([0, 0, 3]))])
    torch.testing.assert_close(outputs, theirs(rows))
    torch.testing.assert_close(own.running_mean, theirs.running_mean)
    torch.testing.assert_close(own.running_var, theirs.running_var)
    assert own.num_batches_tracked == 1
    rows = rows + 1
    torch.testing.assert_close(own.eval()(rows, segment, len(SIZES))[0], theirs.eval()(rows))


def test_a_single_row_can_have_the_running_statistics():
    own, theirs = _norms(single_row='running')
    row = torch.randn(1, 6)
    outputs, statistics = own(row, torch.zeros(1, dtype=torch.int64), 1)
    own.track([statistics])
    torch.testing.assert_close(outputs, theirs.eval()(row))
    assert torch.equal(own.running_var, torch.ones(6))
    assert own.num_batches_tracked == 0
    with pytest.raises(ValueError, match='single_row must be'):
        SegmentBatchNorm1d(6, single_row='none')
