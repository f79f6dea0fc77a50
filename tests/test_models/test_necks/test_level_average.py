import torch

from mmground.models.necks import LevelAverage


def test_matches_a_naive_computation():
    fine, middle, coarse = (torch.randn(2, 3, size, 2 * size) for size in (8, 4, 2))
    average, *levels = LevelAverage()([fine, middle, coarse])
    assert all(kept is given for kept, given in zip(levels, (fine, middle, coarse), strict=True))
    # Bilinear halving is the mean of 2 x 2 pixels; doubling mixes neighbours by 3 to 1.
    halved = fine.unflatten(2, (4, 2)).unflatten(-1, (8, 2)).mean((3, 5))

    def double(maps, axis):
        maps = maps.movedim(axis, -1)
        before = torch.cat((maps[..., :1], maps[..., :-1]), -1)
        behind = torch.cat((maps[..., 1:], maps[..., -1:]), -1)
        doubled = torch.stack((0.75 * maps + 0.25 * before, 0.75 * maps + 0.25 * behind), -1)
        return doubled.flatten(-2).movedim(-1, axis)

    expected = (halved + middle + double(double(coarse, 2), 3)) / 3
    torch.testing.assert_close(average, expected)


def test_grid_of_another_level():
    levels = [torch.randn(1, 2, 4, 4), torch.randn(1, 2, 2, 2)]
    assert LevelAverage(out_level=0)(levels)[0].shape == (1, 2, 4, 4)
