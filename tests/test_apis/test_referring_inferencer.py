"""The inferencer with systems of referring expressions: the whole text is the phrase."""

import json
import warnings
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from small_pbrec import referring_files
from toy_grounder import toy_image

from mmground.apis import GroundingInferencer, init_model
from mmground.models.task_modules.iou_nms import iou_nms, pairwise_box_ious
from mmground.visualization.palette import phrase_color

TEXTS = ['the red star', 'two blue ##s', 'a ring on the grass']


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return referring_files(tmp_path_factory.mktemp('referring'))


@pytest.fixture(scope='module')
def inferencer(files):
    return GroundingInferencer(files.config, files.checkpoint, 'cpu', show_progress=False)


def test_box_mask_and_score_of_an_expression(inferencer, files, tmp_path):
    out = tmp_path / 'out'
    result = inferencer(files.image, 'the red star', out_dir=out, return_vis=True)
    (prediction,) = result['predictions']
    (phrase,) = prediction['phrases']
    assert (phrase['text'], phrase['span']) == ('the red star', [0, 12])
    # What the model itself says of the image.
    (batch,) = inferencer.preprocess(files.image, texts='the red star')
    model = init_model(files.config, files.checkpoint)
    with torch.no_grad():
        (sample,) = model.test_step(batch)
    predicted = sample.pred_phrases
    assert phrase['bbox'] == pytest.approx(predicted.bboxes[0].tolist(), abs=1e-3)
    assert np.array_equal(coco_mask.decode(phrase['mask']).astype(bool), predicted.masks[0])
    assert phrase['area'] == predicted.masks.sum() > 0
    assert phrase['score'] == pytest.approx(predicted.scores.item(), abs=1e-5)
    assert phrase['mask_score'] == pytest.approx(predicted.mask_scores.item(), abs=1e-5)
    assert phrase['points'] == {
        'rec': predicted.points_rec[0].tolist(),
        'res': predicted.points_res[0].tolist(),
    }
    assert phrase['truncated'] is False
    assert 'box_candidates' not in phrase and 'mask_candidates' not in phrase
    assert json.loads((out / 'preds' / 'photo.json').read_text()) == prediction
    # Box and mask are drawn in the colour of the phrase, ten times enlarged.
    (picture,) = result['visualization']
    panel = picture[:480, :640].astype(int)
    left, top, right, bottom = (round(10 * value) for value in phrase['bbox'])
    assert right - left > 50 and bottom - top > 50
    near = np.abs(panel[max(top - 3, 0) : top + 4] - phrase_color(0)).sum(-1).min(0)
    assert (near[left + 20 : right - 20] == 0).mean() > 0.8
    image = cv2.resize(toy_image()[..., ::-1], (640, 480), interpolation=cv2.INTER_CUBIC)
    tinted = np.abs(panel - (image / 2 + np.array(phrase_color(0)) / 2)).max(-1) <= 1
    mask = cv2.resize(predicted.masks[0].numpy().astype(np.uint8), (640, 480)).astype(bool)
    assert tinted[mask].mean() > 0.7 and tinted[~mask].mean() < 0.2


def test_expressions_of_one_image_share_its_encoding_and_the_localisers(inferencer, files, request):
    seen = Counter()
    model = inferencer.model
    parts = dict(backbone=model.backbone, text=model.text_encoder, **model.localisers)
    for name, part in parts.items():
        hook = part.register_forward_hook(
            lambda _, args, __, name=name: seen.update({name: 1, f'{name} items': len(args[0])})
        )
        request.addfinalizer(hook.remove)
    for image in (files.image, toy_image()):
        seen.clear()
        predictions = inferencer(image, TEXTS)['predictions']
        items = {'backbone items': 1, 'text items': 3, 'box items': 1, 'mask items': 1}
        assert seen == dict(backbone=1, text=1, box=1, mask=1, **items)
        assert [prediction['text'] for prediction in predictions] == TEXTS
        assert len({own['phrases'][0]['score'] for own in predictions}) == 3
        for text, prediction in zip(TEXTS, predictions, strict=True):
            (alone,) = inferencer(image, text)['predictions']
            own, other = prediction['phrases'][0], alone['phrases'][0]
            assert own['score'] == pytest.approx(other['score'], abs=1e-5)
            assert own['bbox'] == pytest.approx(other['bbox'], abs=1e-3)
            assert abs(own['area'] - other['area']) <= 3


def test_candidates(inferencer, files):
    plain = inferencer(files.image, TEXTS)['predictions']
    predictions = inferencer(files.image, TEXTS, candidates=True)['predictions']
    assert json.loads(json.dumps(predictions)) == predictions
    for prediction, other in zip(predictions, plain, strict=True):
        (phrase,) = prediction['phrases']
        # 16 points, 12 of them on the image; SOLO's level has 6 x 6 points.
        boxes, masks = phrase['box_candidates'], phrase['mask_candidates']
        assert len(boxes) == len(masks) == 12
        for own in (boxes, masks):
            scores = [candidate['score'] for candidate in own]
            assert scores == sorted(scores, reverse=True)
        assert boxes[phrase['box_choice']] == dict(bbox=phrase['bbox'], score=phrase['score'])
        chosen = masks[phrase['mask_choice']]
        assert chosen == dict(mask=phrase['mask'], score=phrase['mask_score'])
        assert phrase['bbox'] == pytest.approx(other['phrases'][0]['bbox'], abs=1e-3)
        assert phrase['mask'] == other['phrases'][0]['mask']
    # They are those that the choice was made from, where the image does not clip them.
    (sample,) = inferencer(files.image, TEXTS[0], candidates=True, return_datasamples=True)[
        'predictions'
    ]
    kept = sample.pred_phrases
    assert iou_nms(kept.box_ious) == kept.box_choice
    assert kept.box_ious.shape == pairwise_box_ious(kept.box_candidates).shape
    assert kept.box_ious.sum() > 1
    assert not kept.box_ious.diagonal(dim1=1, dim2=2).any()
    # Later calls know nothing of it.
    assert inferencer.model.head.test_cfg['keep_candidates'] is False
    assert 'box_candidates' not in inferencer(files.image, TEXTS[0])['predictions'][0]['phrases'][0]


def test_images_and_texts_in_batches(inferencer, files):
    images, texts = [files.image, toy_image()[:, ::-1]], [TEXTS[:2], TEXTS[2]]
    batched = inferencer(images, texts, batch_size=2)['predictions']
    assert [prediction['text'] for prediction in batched] == TEXTS
    (alone,) = inferencer(images[1], TEXTS[2])['predictions']
    found, other = batched[2]['phrases'][0], alone['phrases'][0]
    assert found['bbox'] == pytest.approx(other['bbox'], abs=1e-3)


def test_brackets_are_removed(inferencer, files):
    def found(text, **kwargs):
        return inferencer(files.image, text, **kwargs)['predictions'][0]

    expected = found('the red star')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert found('[the red star]') == expected
        assert found(' the red star ') == expected
        assert found('the red star', phrases=['the red star']) == expected
    with pytest.warns(UserWarning, match="the whole text 'the red star' .* brackets are removed"):
        assert found('the [red] star') == expected


def test_a_cut_and_an_unread_expression(inferencer, files, monkeypatch):
    monkeypatch.setattr(inferencer.model.text_encoder, 'max_length', 5)
    long, short = inferencer(files.image, ['a red star on the grass', 'a red star'])['predictions']
    assert long['phrases'][0]['truncated'] is True
    assert short['phrases'][0]['truncated'] is False
    with pytest.raises(ValueError, match=r'reads no piece of the phrase .* shorten the text'):
        inferencer(files.image, '\u200b')


@pytest.mark.parametrize(
    ('kept', 'tasks', 'fields'),
    [
        (['box'], ['rec'], {'score', 'bbox'}),
        (['mask'], ['res'], {'score', 'mask', 'area', 'bbox'}),
        ([], ['rec', 'res'], {'score'}),
    ],
)
def test_what_the_parts_of_a_model_predict(tmp_path, kept, tasks, fields):
    files = referring_files(tmp_path, kept, tasks=tasks)
    inferencer = GroundingInferencer(files.config, files.checkpoint, 'cpu')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        result = inferencer(files.image, TEXTS, out_dir=tmp_path / 'out', return_vis=True)
    notes = [str(w.message) for w in caught if 'has no localisers' in str(w.message)]
    assert len(notes) == (not kept)
    assert len(result['visualization']) == len(TEXTS)
    assert all(Path(path).is_file() for path in result['files'])
    for prediction in result['predictions']:
        (phrase,) = prediction['phrases']
        assert phrase.keys() == {'text', 'span', 'points', 'truncated', *fields}
        assert list(phrase['points']) == tasks
    if kept:
        phrase = inferencer(files.image, TEXTS[0], candidates=True)['predictions'][0]['phrases'][0]
        assert [name for name in ('box', 'mask') if f'{name}_candidates' in phrase] == kept
        return
    # Points alone are drawn as discs.
    picture = result['visualization'][0][:480, :640]
    for x, y in result['predictions'][0]['phrases'][0]['points'].values():
        row, column = min(round(y * 10), 479), min(round(x * 10), 639)
        assert picture[row, column].tolist() == list(phrase_color(0))
    with pytest.raises(ValueError, match=r'the model has none .*PointGroundingHead'):
        inferencer(files.image, TEXTS[0], candidates=True)


def test_bad_input_is_noticed_before_the_model_runs(inferencer, files, monkeypatch):
    monkeypatch.setattr(inferencer, 'forward', None)

    def refuses(kind, match, *args, **kwargs):
        with pytest.raises(kind, match=match):
            inferencer(*args, **kwargs)

    refuses(ValueError, 'the text is empty', files.image, ' ')
    refuses(ValueError, 'never closed', files.image, 'the [left star')
    phrases = ['red', 'star']
    refuses(ValueError, r'give each expression as a text', files.image, 'red star', phrases=phrases)
    refuses(TypeError, 'list of strings', files.image, 'a star', phrases='a star')
    refuses(ValueError, 'PointGroundingHead keeps none', files.image, 'a star', panoptic=True)


def test_other_systems_have_no_candidates(toy_files):
    inferencer = GroundingInferencer(toy_files.config, toy_files.checkpoint, 'cpu')
    with pytest.raises(ValueError, match=r'the model has none \(its head is ToyGrounder'):
        inferencer(toy_files.image, '[red]', candidates=True)


def test_no_gradients_are_kept(inferencer, files):
    (sample,) = inferencer(files.image, TEXTS[0], candidates=True, return_datasamples=True)[
        'predictions'
    ]
    tensors = [own for _, own in sample.pred_phrases.items() if isinstance(own, torch.Tensor)]
    assert tensors and not any(own.requires_grad for own in tensors)
