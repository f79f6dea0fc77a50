import pytest

from mmground.datasets.grounding_shapes.comparisons import find_comparisons
from mmground.datasets.grounding_shapes.scene import Thing


def thing(diameter, x, y):
    return Thing('ball', 'red', 'small', 'plain', x, y, diameter, 0.0)


@pytest.mark.parametrize(
    ('things', 'expected'),
    [
        (
            [(0.3, 0.2, 0.7), (0.2, 0.8, 0.3)],
            dict(smaller=1, larger=0, left=0, right=1, upper=1, lower=0),
        ),
        # One of them is hardly larger, and stands hardly further left.
        ([(0.22, 0.5, 0.5), (0.2, 0.58, 0.8)], dict(upper=0, lower=1)),
        (
            [(0.2, 0.5, 0.1), (0.25, 0.1, 0.2), (0.35, 0.9, 0.25)],
            {
                'smallest': 0,
                'largest': 2,
                'leftmost': 1,
                'rightmost': 2,
                'topmost': 0,
                'second from the left': 0,
                'second from the right': 0,
            },
        ),
        # Of the two on the right neither is plainly first.
        (
            [(0.2, 0.9, 0.5), (0.2, 0.95, 0.5), (0.2, 0.1, 0.5), (0.2, 0.4, 0.5)],
            {'leftmost': 2, 'second from the left': 3},
        ),
    ],
)
def test_only_plain_differences_are_told(things, expected):
    found = find_comparisons([thing(*own) for own in things])
    assert found == expected and all(type(member) is int for member in found.values())
