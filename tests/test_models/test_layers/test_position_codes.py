import math

import pytest
import torch

from mmground.models.layers.position_codes import pixel_position_code, sequence_position_code


def test_matches_a_naive_computation():
    code = pixel_position_code(3, 4, 8)
    for row in range(3):
        for column in range(4):
            for offset, place in ((0, column), (4, row)):
                for k in range(4):
                    angle = place / 10000 ** (2 * (k // 2) / 4)
                    expected = math.cos(angle) if k % 2 else math.sin(angle)
                    assert code[offset + k, row, column].item() == pytest.approx(expected, abs=1e-6)


def test_channels_that_do_not_divide_are_an_error():
    with pytest.raises(ValueError, match='multiple of 4'):
        pixel_position_code(3, 4, 6)
    assert torch.equal(pixel_position_code(1, 1, 4)[:, 0, 0], torch.tensor([0.0, 1, 0, 1]))


def test_places_in_a_sequence_match_a_naive_computation():
    code = sequence_position_code(30, 10)
    assert code.shape == (30, 10)
    for place in range(30):
        for k in range(10):
            angle = place / 10000 ** (2 * (k // 2) / 10)
            expected = math.cos(angle) if k % 2 else math.sin(angle)
            assert code[place, k].item() == pytest.approx(expected, abs=5e-6)
    with pytest.raises(ValueError, match='even'):
        sequence_position_code(3, 5)
