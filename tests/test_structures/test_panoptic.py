import numpy as np
import pytest
import torch

from mmground.structures import (
    decode_segment_ids,
    encode_segment_ids,
    merge_panoptic,
    segment_phrase_masks,
)


def naive_merge(probs, threshold, iou_threshold):
    """Pixel by pixel: groups grow by overlaps, the most probable phrase takes the pixel."""
    count, height, width = probs.shape
    pixels = [
        {(y, x) for y in range(height) for x in range(width) if probs[i, y, x] > threshold}
        for i in range(count)
    ]
    groups = [{i} for i in range(count) if pixels[i]]
    for i in range(count):
        for j in range(i):
            union = pixels[i] | pixels[j]
            if union and len(pixels[i] & pixels[j]) / len(union) >= iou_threshold:
                joined = [group for group in groups if i in group or j in group]
                groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    groups.sort(key=min)
    won = [{} for _ in groups]
    for y in range(height):
        for x in range(width):
            best = max(range(count), key=lambda i: (probs[i, y, x], -i))
            if probs[best, y, x] > threshold:
                owner = next(k for k, group in enumerate(groups) if best in group)
                won[owner][y, x] = float(probs[best, y, x])
    segment_map, segments = np.zeros((height, width), int), []
    for group, own in zip(groups, won, strict=True):
        if not own:
            continue
        ys, xs = zip(*own, strict=True)
        segments.append(
            dict(
                id=len(segments) + 1,
                phrases=sorted(group),
                area=len(own),
                bbox=[min(xs), min(ys), max(xs) + 1, max(ys) + 1],
                score=sum(own.values()) / len(own),
            )
        )
        for y, x in own:
            segment_map[y, x] = segments[-1]['id']
    return segment_map, segments


def blobs(seed, count=9, size=(13, 17)):
    """Rectangles with random probabilities; half of the phrases repeat another one's."""
    rng = np.random.default_rng(seed)
    probs = rng.uniform(0, 0.5, (count, *size))
    for index in range(count):
        if index % 2:
            probs[index] = probs[rng.integers(index)]
        else:
            y, x = rng.integers(0, size[0] - 3), rng.integers(0, size[1] - 3)
            h, w = rng.integers(2, 8, 2)
            window = probs[index, y : y + h, x : x + w]
            window[:] = rng.uniform(0.3, 1, window.shape)
        # Repeats are similar, not equal, so that some reach the threshold and some do not.
        probs[index] = np.clip(probs[index] + rng.normal(0, 0.1, size), 0, 1)
    # One is fainter than another and inside it: it loses all of its pixels.
    y, x = np.unravel_index(probs[0].argmax(), size)
    faint = 0.9 * probs[0, y, x]
    probs = np.concatenate([probs, np.zeros((1, *size))])
    probs[-1, y, x] = faint
    return torch.tensor(probs, dtype=torch.float32)


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize(('threshold', 'iou_threshold'), [(0.5, 0.8), (0.4, 0.3), (0.0, 0.5)])
def test_equals_the_naive_loop(seed, threshold, iou_threshold):
    probs = blobs(seed)
    segment_map, segments = merge_panoptic(probs, threshold, iou_threshold)
    expected_map, expected = naive_merge(probs.numpy(), threshold, iou_threshold)
    assert segment_map.dtype == torch.int32
    assert np.array_equal(segment_map.numpy(), expected_map)
    assert len(segments) == len(expected) > 0
    for own, other in zip(segments, expected, strict=True):
        assert own['score'] == pytest.approx(other.pop('score'), abs=1e-6)
        assert {key: own[key] for key in other} == other


def test_the_cases_of_the_loop_cover_sharing_and_losing():
    # What the comparison above is worth: shared segments and phrases that lose all pixels.
    shared = lost = 0
    for seed in range(8):
        probs = blobs(seed)
        _, segments = merge_panoptic(probs, 0.4, 0.3)
        placed = {index for segment in segments for index in segment['phrases']}
        shared += sum(len(segment['phrases']) > 1 for segment in segments)
        lost += sum(index not in placed for index in range(len(probs)))
    assert shared > 5 and lost > 0


def test_phrases_share_a_segment_from_the_iou_on():
    # Rows of 5 pixels, of which the second phrase covers 4: an IoU of exactly 0.8.
    probs = torch.tensor([[[0.9] * 5], [[0.6] * 4 + [0.1]]])
    segment_map, segments = merge_panoptic(probs)
    assert segment_map.tolist() == [[1] * 5]
    assert segments[0]['phrases'] == [0, 1]
    assert segments[0]['score'] == pytest.approx(0.9)
    segment_map, segments = merge_panoptic(probs, iou_threshold=0.81)
    # Apart, the first takes all and the second has nothing left.
    assert segment_map.tolist() == [[1] * 5]
    assert [segment['phrases'] for segment in segments] == [[0]]


def test_a_chain_of_overlaps_is_one_segment_in_any_order():
    rows = torch.zeros(3, 1, 12)
    rows[0, :, 0:10] = rows[1, :, 1:11] = rows[2, :, 2:12] = 0.9
    # Neighbours overlap by 9/11, the ends by 8/12.
    for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2]):
        segment_map, segments = merge_panoptic(rows[order])
        assert segment_map.tolist() == [[1] * 12]
        assert segments[0]['phrases'] == [0, 1, 2] and segments[0]['bbox'] == [0, 0, 12, 1]


def test_of_equal_probabilities_the_first_wins():
    probs = torch.zeros(2, 1, 4)
    probs[0, 0, :3] = probs[1, 0, 1:] = 0.75
    assert merge_panoptic(probs)[0].tolist() == [[1, 1, 1, 2]]


def test_nothing_to_merge():
    assert merge_panoptic(torch.zeros(0, 3, 4))[0].tolist() == [[0] * 4] * 3
    segment_map, segments = merge_panoptic(torch.full((2, 3, 4), 0.5))
    assert segment_map.tolist() == [[0] * 4] * 3 and segments == []


def test_bad_input():
    with pytest.raises(TypeError, match='bool'):
        merge_panoptic(torch.ones(1, 2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r'\(2, 2\)'):
        merge_panoptic(torch.ones(2, 2))
    for thresholds in ((1.0, 0.8), (-0.1, 0.8), (0.5, 0.0), (0.5, 1.1)):
        with pytest.raises(ValueError, match='threshold must be'):
            merge_panoptic(torch.ones(1, 2, 2), *thresholds)


def test_segment_phrase_masks():
    segment_map = torch.tensor([[1, 1, 0, 2]], dtype=torch.int32)
    segments = [dict(id=1, phrases=[0, 3]), dict(id=2, phrases=[2])]
    masks = segment_phrase_masks(segment_map, segments, 4)
    expected = [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0]]
    assert masks.dtype == torch.bool
    assert masks[:, 0].int().tolist() == expected
    assert segment_phrase_masks(segment_map, [], 0).shape == (0, 1, 4)


def test_segment_ids_as_colors():
    ids = np.array([[256, 1 + 2 * 256 + 3 * 65536], [2**24 - 1, 0]])
    colors = encode_segment_ids(ids)
    assert colors.dtype == np.uint8 and colors.shape == (2, 2, 3)
    assert np.array_equal(colors.astype(np.int64) @ [1, 256, 65536], ids)
    decoded = decode_segment_ids(colors)
    assert decoded.dtype == np.int32
    assert np.array_equal(decoded, ids)
