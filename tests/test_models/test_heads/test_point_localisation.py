import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

from mmground.evaluation import ReferringMetric
from mmground.models.heads import PointLocalisation
from mmground.models.localisers import BoxProposals, MaskProposals
from mmground.structures import Geometry, GroundingDataSample

STRIDE, GRID, CANVAS = 16, (8, 8), (128, 128)
GEOMETRIES = [
    Geometry((96, 192), (64, 128), offset=(32, 0), canvas_shape=CANVAS),
    Geometry((160, 100), (128, 80), offset=(0, 24), flip=True, canvas_shape=CANVAS),
]
# Two texts about the second image, one about the first.
IMAGES = [1, 0, 1]


def _random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _samples():
    return [
        GroundingDataSample(metainfo=dict(image_index=index, geometry=GEOMETRIES[index]))
        for index in IMAGES
    ]


def _points(side):
    centres = (torch.arange(side) + 0.5) * CANVAS[0] / side
    y, x = torch.meshgrid(centres, centres, indexing='ij')
    return torch.stack((x.flatten(), y.flatten()), -1)


def _boxes():
    points = _points(8)
    reach = _random(2, 64, 4, seed=1) * 40 + 5
    boxes = torch.cat((points - reach[..., :2], points + reach[..., 2:]), -1).clamp(0, 128)
    return BoxProposals(GRID, points, boxes, _random(2, 64, seed=2))


def _masks(side=6):
    n = side**2
    return MaskProposals(
        grid=(side, side),
        points=_points(side),
        features=_random(2, 4, 16, 16, seed=3) * 2 - 1,
        weight=_random(n, 4, seed=4) * 4 - 2,
        bias=_random(n, seed=5) - 0.5,
        shape=(32, 32),
    )


def _logits():
    return {'rec': _random(3, 8, 8, seed=6) * 6 - 4, 'res': _random(3, 8, 8, seed=7) * 6 - 4}


def _box_iou(a, b):
    inter = 1.0
    for low, high in ((0, 2), (1, 3)):
        inter *= max(min(a[high], b[high]) - max(a[low], b[low]), 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return inter / (sum(areas) - inter)


def _mask_iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


def _majority(candidates, iou):
    """The position that overlaps most with the others."""
    sums = [
        sum(iou(own, other) for j, other in enumerate(candidates) if j != i)
        for i, own in enumerate(candidates)
    ]
    return int(np.argmax(sums))


@pytest.mark.parametrize('score_mode', ['ref', 'ref*centerness'])
def test_boxes(score_mode):
    logits, proposals, samples = _logits(), _boxes(), _samples()
    localise = PointLocalisation(topk=5, score_mode=score_mode, keep_candidates=True)
    results = localise(logits, {'box': proposals}, samples)
    for t, image in enumerate(IMAGES):
        geometry = GEOMETRIES[image]
        rows, columns = geometry.image_area
        scores = {}
        for row in range(8):
            for column in range(8):
                x, y = STRIDE * (column + 0.5), STRIDE * (row + 0.5)
                if rows.start <= y < rows.stop and columns.start <= x < columns.stop:
                    point = row * 8 + column
                    score = torch.sigmoid(logits['rec'][t, row, column]).item()
                    if score_mode != 'ref':
                        score *= proposals.centerness[image, point].item()
                    scores[point] = score
        best = sorted(scores, key=lambda point: -scores[point])[:5]
        candidates = [proposals.boxes[image, point].tolist() for point in best]
        choice = _majority(candidates, _box_iou)
        result = results[t]
        assert result.box_choice.tolist() == [choice]
        assert result.scores.tolist() == pytest.approx([scores[best[choice]]], rel=1e-6)
        assert result.box_candidate_scores[0].tolist() == pytest.approx(
            [scores[point] for point in best], rel=1e-6
        )
        on_image = geometry.inverse_boxes(torch.tensor(candidates))
        torch.testing.assert_close(result.box_candidates, on_image[None])
        torch.testing.assert_close(result.bboxes, on_image[choice][None])
        assert result.canvas_bboxes[0].tolist() == candidates[choice]
        overlap = _box_iou(candidates[0], candidates[3])
        assert result.box_ious[0, 3, 0].item() == pytest.approx(overlap, abs=1e-5)
        assert 'masks' not in result
        assert len(result) == 1


def test_masks():
    logits, proposals, samples = _logits(), _masks(), _samples()
    localise = PointLocalisation(topk=4, keep_candidates=True)
    results = localise(logits, {'mask': proposals}, samples)
    for t, image in enumerate(IMAGES):
        geometry = GEOMETRIES[image]
        probs = torch.sigmoid(logits['res'][t])
        scores = torch.nn.functional.interpolate(probs[None, None], size=(6, 6), mode='bilinear')
        scores = scores[0, 0].masked_fill(~geometry.valid_cells((6, 6)), -1).flatten().tolist()
        best = sorted(range(36), key=lambda point: -scores[point])[:4]
        candidates = [proposals.decode(torch.tensor(image), torch.tensor(p)) for p in best]
        choice = _majority([(own > 0.5).numpy() for own in candidates], _mask_iou)
        result = results[t]
        assert result.mask_choice.tolist() == [choice]
        assert result.scores.tolist() == pytest.approx([scores[best[choice]]], rel=1e-6)
        assert torch.equal(result.scores, result.mask_scores)
        # As SOLO: enlarged to the canvas, cut to the image, resized, thresholded.
        canvas = torch.nn.functional.interpolate(
            candidates[choice][None, None], scale_factor=4, mode='bilinear'
        )
        rows, columns = geometry.image_area
        image_probs = canvas[..., rows, columns]
        if geometry.flip:
            image_probs = image_probs.flip(-1)
        mask = torch.nn.functional.interpolate(
            image_probs, size=geometry.ori_shape, mode='bilinear'
        )
        assert torch.equal(result.masks, mask[0] > 0.5)
        assert result.mask_candidates.shape == (1, 4, *geometry.ori_shape)
        assert torch.equal(result.mask_candidates[:, choice], result.masks)
        assert 0 < result.masks.float().mean() < 1


def test_both_and_without_candidates():
    logits, samples = _logits(), _samples()
    both = PointLocalisation()(logits, {'box': _boxes(), 'mask': _masks()}, samples)
    boxes = PointLocalisation()(logits, {'box': _boxes()}, samples)
    masks = PointLocalisation()(logits, {'mask': _masks()}, samples)
    for result, box, mask in zip(both, boxes, masks, strict=True):
        assert set(result.keys()) == {'bboxes', 'canvas_bboxes', 'masks', 'scores', 'mask_scores'}
        assert torch.equal(result.bboxes, box.bboxes)
        assert torch.equal(result.scores, box.scores)
        assert torch.equal(result.masks, mask.masks)
        assert torch.equal(result.mask_scores, mask.scores)


def test_a_smaller_k_from_the_same_candidates():
    logits, samples, proposals = _logits(), _samples(), {'box': _boxes(), 'mask': _masks()}
    many = PointLocalisation(topk=12, keep_candidates=True)(logits, proposals, samples)
    few = PointLocalisation(topk=4)(logits, proposals, samples)
    for large, small in zip(many, few, strict=True):
        for name, field in (('box', 'bboxes'), ('mask', 'masks')):
            own = large[f'{name}_ious'][0, :4, :4]
            choice = (own.sum(1) - own.diagonal()).argmax()
            assert torch.equal(large[f'{name}_candidates'][:, choice], small[field])


def _evaluate(metric, results, samples):
    """Of a target that is the whole image; each IoU tells the chosen box."""
    for index, (sample, result) in enumerate(zip(samples, results, strict=True)):
        shape = sample.geometry.ori_shape
        sample.set_metainfo(dict(sample_id=str(index), ori_shape=shape, phrases=[dict(text='it')]))
        box = torch.tensor([[0.0, 0.0, shape[1], shape[0]]])
        sample.gt_regions = InstanceData(bboxes=box, masks=torch.ones(1, *shape, dtype=torch.bool))
        sample.links = torch.tensor([[0, 0]])
        sample.pred_phrases = result
    evaluator = Evaluator(metric)
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


@pytest.mark.parametrize('score_mode', ['ref', 'ref*centerness'])
def test_all_of_table_5_from_one_pass(score_mode):
    """Every k and both rankings, against a model with these settings."""
    logits, proposals = _logits(), {'box': _boxes(), 'mask': _masks()}
    settings = dict(topk=12, score_mode=score_mode, keep_candidates=True)
    once = PointLocalisation(**settings)(logits, proposals, _samples())
    values = set()
    for k in (1, 4, 12):
        for ranking in (None, 'ref'):
            metric = ReferringMetric(topk=k, score_mode=ranking)
            found = _evaluate(metric, once, _samples())
            own = PointLocalisation(topk=k, score_mode=ranking or score_mode)
            expected = _evaluate(ReferringMetric(), own(logits, proposals, _samples()), _samples())
            prefix = f'referring_k{k}' + ('_ref' if ranking else '')
            for name in ('original/box_mIoU', 'original/mIoU'):
                assert found[f'{prefix}/{name}'] == expected[f'referring/{name}']
            values.add(found[f'{prefix}/original/box_mIoU'])
    assert len(values) == (3 if score_mode == 'ref' else 6)


def test_a_smaller_k_counts_a_candidate_with_itself_as_the_model_does():
    """Two boxes without area: with themselves they overlap by 0, others by 1 (Eq. 7)."""
    boxes = _boxes()
    boxes.boxes[:] = torch.tensor([8.0, 40.0, 8.0, 40.0])
    boxes.boxes[:, 27] = torch.tensor([30.0, 40.0, 60.0, 80.0])
    logits = {'rec': torch.full((3, 8, 8), -4.0)}
    logits['rec'].flatten(1)[:, 27] = 0.0
    logits['rec'].flatten(1)[:, 36] = 2.0
    for include_self in (True, False):
        localise = PointLocalisation(
            topk=5, score_mode='ref', include_self=include_self, keep_candidates=True
        )
        results = localise(logits, {'box': boxes}, _samples())
        assert [int(result.box_choice) for result in results] == 3 * [int(include_self)]
        found = _evaluate(ReferringMetric(topk=2), results, _samples())
        expected = _evaluate(ReferringMetric(), results, _samples())
        name = 'original/box_mIoU'
        assert found[f'referring_k2/{name}'] == expected[f'referring/{name}']
        assert (expected[f'referring/{name}'] > 0) == include_self


def test_points_on_the_padding_are_candidates_on_demand():
    logits = {'rec': torch.full((3, 8, 8), -4.0)}
    logits['rec'][:, 0, 0] = 4.0  # padding on both images
    proposals, samples = _boxes(), _samples()
    for excluded in (True, False):
        localise = PointLocalisation(
            topk=3, score_mode='ref', exclude_padding=excluded, keep_candidates=True
        )
        for result in localise(logits, {'box': proposals}, samples):
            found = result.box_candidate_scores[0, 0].item()
            assert (found > 0.9) == (not excluded)


def test_an_image_with_fewer_points_than_k():
    narrow = Geometry((600, 60), (128, 13), offset=(0, 57), canvas_shape=CANVAS)
    sample = GroundingDataSample(metainfo=dict(image_index=0, geometry=narrow))
    proposals = _boxes()
    localise = PointLocalisation(topk=12, keep_candidates=True)
    (result,) = localise({'rec': _logits()['rec'][:1]}, {'box': proposals}, [sample])
    # No cell has its centre on the image: then all of them count.
    assert result.box_candidates.shape == (1, 12, 4)
    narrow = Geometry((600, 60), (128, 13), offset=(0, 50), canvas_shape=CANVAS)
    sample.set_metainfo(dict(geometry=narrow))
    (result,) = localise({'rec': _logits()['rec'][:1]}, {'box': proposals}, [sample])
    assert result.box_candidates.shape == (1, 8, 4)
    assert result.box_ious.shape == (1, 8, 8)
    assert result.box_candidate_scores.isfinite().all()
    assert result.box_choice.item() < 8


def test_wrong_settings():
    for settings in (dict(topk=0), dict(score_mode='conf'), dict(interpolation='cubic')):
        with pytest.raises(ValueError, match=f'{next(iter(settings))} must be'):
            PointLocalisation(**settings)
    with pytest.raises(ValueError, match=r"localisers \['mask'\] have no scores"):
        PointLocalisation()({'rec': _logits()['rec']}, {'mask': _masks()}, _samples())
