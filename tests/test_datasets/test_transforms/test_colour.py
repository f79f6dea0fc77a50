import random

import numpy as np
import pytest

from mmground.datasets.transforms import PillowColorJitter

IMAGE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
GREY = np.array([0.114, 0.587, 0.299])  # of B, G, R


def blend(image, other, factor):
    # Pillow cuts off what follows the point.
    return np.floor(np.clip(other + factor * (image - other), 0, 255))


def by_hand(image, name, factor):
    image = image.astype(float)
    grey = np.round(image @ GREY)[..., None]
    other = dict(brightness=0, contrast=np.floor(grey.mean() + 0.5), saturation=grey)[name]
    return blend(image, other, factor)


@pytest.mark.parametrize('seed', range(6))
def test_it_is_a_chain_of_three_blends(monkeypatch, seed):
    names = ['brightness', 'contrast', 'saturation']
    order, factors = random.Random(seed).sample(names, 3), [0.7, 1.3, 0.65]
    places = [names.index(name) for name in order]
    monkeypatch.setattr(random, 'sample', lambda items, _: [items[i] for i in places])
    queue = list(factors)
    monkeypatch.setattr(random, 'uniform', lambda low, high: queue.pop(0))
    found = PillowColorJitter(prob=1.0)(dict(img=IMAGE.copy()))['img']
    expected = IMAGE
    for name, factor in zip(order, factors, strict=True):
        expected = by_hand(expected, name, factor)
    assert found.dtype == np.uint8
    # Pillow blends in single precision: a value may fall to the other side of a whole number.
    difference = np.abs(found - expected)
    assert difference.max() <= 2
    assert (difference == 0).mean() > 0.95


def test_factors_and_probability(monkeypatch):
    drawn = []
    monkeypatch.setattr(random, 'uniform', lambda low, high: drawn.append((low, high)) or 1.0)
    random.seed(0)
    transform = PillowColorJitter()
    for _ in range(1000):
        # Factors of 1 change nothing.
        found = transform(dict(img=IMAGE.copy()))['img']
        np.testing.assert_array_equal(found, IMAGE)
    assert set(drawn) == {(0.6, 1.4)}
    assert 750 < len(drawn) / 3 < 850


def test_no_change():
    image = IMAGE.copy()
    assert PillowColorJitter(prob=0.0)(dict(img=image))['img'] is image
