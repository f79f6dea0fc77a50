import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from small_ppmn import small_ppmn, write_vocabulary
from toy_grounder import toy_config, toy_image

from mmground.apis import GroundingInferencer
from mmground.registry import INFERENCERS
from mmground.structures import GroundingDataSample, markup, merge_panoptic

TEXT = 'A [red square] and [a blue square] on [the green floor], no [cat].'


@pytest.fixture
def inferencer(toy_files):
    return GroundingInferencer(toy_config(), toy_files.checkpoint, 'cpu', show_progress=False)


def expected_mask(color):
    mask = np.zeros((48, 64), bool)
    if color == 'red':
        mask[8:24, 8:24] = True
    elif color == 'blue':
        mask[32:40, 40:56] = True
    return mask


def test_masks_scores_and_boxes_of_an_image_file(inferencer, toy_files):
    result = inferencer(toy_files.image, TEXT)
    assert result['visualization'] == [] and result['files'] == []
    (prediction,) = result['predictions']
    assert prediction['text'] == 'A red square and a blue square on the green floor, no cat.'
    assert (prediction['height'], prediction['width']) == (48, 64)
    assert prediction['img_path'] == toy_files.image
    red, blue, green, cat = prediction['phrases']
    for phrase, color in ((red, 'red'), (blue, 'blue')):
        mask = coco_mask.decode(phrase['mask']).astype(bool)
        # The pipeline halves the image, so borders may be off by a pixel.
        assert np.logical_xor(mask, expected_mask(color)).sum() <= 0.3 * mask.sum()
        assert phrase['area'] == mask.sum() > 100
        assert phrase['score'] == pytest.approx(0.75)
        ys, xs = np.nonzero(mask)
        assert phrase['bbox'] == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert prediction['text'][slice(*red['span'])] == 'red square'
    assert green['area'] > 2000
    assert cat['area'] == 0 and cat['bbox'] is None
    assert json.loads(json.dumps(prediction)) == prediction


def test_files_are_written(inferencer, toy_files, tmp_path):
    out = tmp_path / 'out'
    result = inferencer(toy_files.image, TEXT, out_dir=out)
    assert [Path(path) for path in result['files']] == [
        out / 'vis' / 'photo.png',
        out / 'preds' / 'photo.json',
    ]
    assert json.loads((out / 'preds' / 'photo.json').read_text()) == result['predictions'][0]
    picture = cv2.imread(str(out / 'vis' / 'photo.png'))
    assert picture.shape[1] == 640 and picture.shape[0] > 480

    inferencer(
        toy_files.image, TEXT, out_dir=tmp_path / 'none', no_save_vis=True, no_save_pred=True
    )
    assert not (tmp_path / 'none').exists()


def test_an_array_gives_what_its_file_gives(inferencer, toy_files):
    from_file = inferencer(toy_files.image, TEXT)['predictions'][0]
    from_array = inferencer(toy_image(), TEXT)['predictions'][0]
    assert from_array['img_path'] is None
    assert from_array['phrases'] == from_file['phrases']


def test_batches_texts_and_phrase_lists_for_each_image(inferencer):
    images = [toy_image(), toy_image()[:, ::-1], toy_image()[:40]]
    texts = ['[a red one]', 'something blue', '[the blue] and [the red]']
    single = [
        inferencer(image, text, phrases=listed)['predictions'][0]
        for image, text, listed in zip(images, texts, (None, ['blue'], None), strict=True)
    ]
    batched = inferencer(images, texts, phrases=[None, ['blue'], None], batch_size=2)
    assert batched['predictions'] == single
    assert [len(prediction['phrases']) for prediction in single] == [1, 1, 2]
    # Mirrored, the blue square stands where the red one was in x.
    assert np.allclose(single[1]['phrases'][0]['bbox'], [8, 32, 24, 40], atol=1)


def test_one_text_and_one_list_hold_for_a_folder(inferencer, toy_files, tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for name in ('b.png', 'a.PNG'):
        (folder / name).write_bytes(Path(toy_files.image).read_bytes())
    (folder / 'notes.txt').write_text('no image')
    predictions = inferencer(folder, 'a red thing', phrases=['red'])['predictions']
    assert [Path(p['img_path']).name for p in predictions] == ['a.PNG', 'b.png']
    assert predictions[0]['phrases'] == predictions[1]['phrases']


def test_images_of_one_name_do_not_overwrite_each_other(inferencer, toy_files, tmp_path):
    texts = ['[a red one]', '[a blue one]']
    result = inferencer([toy_files.image] * 2, texts, out_dir=tmp_path, no_save_vis=True)
    assert [Path(path).name for path in result['files']] == ['photo.json', 'photo_1.json']
    arrays = [inferencer(toy_image(), '[red]', out_dir=tmp_path)['files'][0] for _ in range(2)]
    assert arrays[0] != arrays[1]


def test_pictures_and_data_samples_can_be_returned(inferencer, toy_files):
    result = inferencer(toy_files.image, TEXT, return_vis=True, return_datasamples=True)
    (sample,) = result['predictions']
    assert isinstance(sample, GroundingDataSample)
    assert sample.pred_phrases.masks.shape == (4, 48, 64)
    (picture,) = result['visualization']
    # RGB: the red square, blended with a red colour, stays red.
    red, _, blue = picture[200, 200].astype(int)
    assert red > 150 > blue
    plain = inferencer(toy_files.image, TEXT, return_vis=True, draw_pred=False)['visualization'][0]
    assert plain[300, 50].tolist() == [0, 255, 0]
    assert picture[300, 50].tolist() != [0, 255, 0]


@pytest.fixture
def small_inferencer(tmp_path):
    """A real PPMN of random weights, and how many images each pass of its backbone saw."""
    torch.manual_seed(0)
    config = toy_config()
    config.model = small_ppmn(write_vocabulary(tmp_path / 'vocab.txt'))
    with pytest.warns(UserWarning, match='random weights'):
        inferencer = GroundingInferencer(config, device='cpu', show_progress=False)
    seen = []
    inferencer.model.backbone.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    return inferencer, seen


def texts_of(result):
    return [prediction['text'] for prediction in result['predictions']]


def test_several_texts_about_one_image_encode_it_once(small_inferencer, toy_files, tmp_path):
    inferencer, seen = small_inferencer
    texts = ['[a red star]', 'two [blue ##s]', '[the grass] and [a ring]']
    for image in (toy_files.image, toy_image()):
        seen.clear()
        result = inferencer(image, texts, out_dir=tmp_path, no_save_vis=True)
        assert seen == [1], 'one pass of one image'
        assert texts_of(result) == ['a red star', 'two blue ##s', 'the grass and a ring']
        names = [Path(path).stem for path in result['files']]
        assert names == [names[0], f'{names[0]}_1', f'{names[0]}_2']
        # What each text finds is what it finds alone.
        for text, prediction in zip(texts, result['predictions'], strict=True):
            (alone,) = inferencer(image, text)['predictions']
            for phrase, other in zip(prediction['phrases'], alone['phrases'], strict=True):
                assert phrase['score'] == pytest.approx(other['score'], abs=1e-5)
                assert abs(phrase['area'] - other['area']) <= 3


def test_images_are_unique_in_a_batch(small_inferencer, toy_files, tmp_path):
    inferencer, seen = small_inferencer
    array, other = toy_image(), toy_image()
    copy = tmp_path / 'copy.png'
    copy.write_bytes(Path(toy_files.image).read_bytes())
    # Arrays are the same image if they are the same object.
    images = [toy_files.image, array, array, copy, other]
    texts = [['[a star]', '[a ring]'], '[red]', '[blue]', ['[grass]'], '[the star]']
    result = inferencer(images, texts, batch_size=3)
    assert seen == [3, 1]
    assert texts_of(result) == ['a star', 'a ring', 'red', 'blue', 'grass', 'the star']
    seen.clear()
    # Apart from each other in the list, but in one batch.
    inferencer([array, other, array], '[red]', batch_size=3)
    assert seen == [2]


def test_phrase_lists_have_the_form_of_the_texts(inferencer, toy_files):
    def found(*args, **kwargs):
        return [
            [phrase['text'] for phrase in prediction['phrases']]
            for prediction in inferencer(*args, **kwargs)['predictions']
        ]

    image, two = toy_files.image, ['a red and a blue one', 'blue or red']
    assert found(image, two, phrases=['red', 'blue']) == [['red', 'blue']] * 2
    assert found(image, two, phrases=[['red'], ['blue', 'red']]) == [['red'], ['blue', 'red']]
    assert found(image, [two[0], '[blue]'], phrases=[['red'], None]) == [['red'], ['blue']]
    images = [image, toy_image()]
    assert found(images, [two, 'a red one'], phrases=['red']) == [['red']] * 3
    nested = [[['red'], ['blue']], ['red one']]
    assert found(images, [two, 'a red one'], phrases=nested) == [['red'], ['blue'], ['red one']]
    shared = [['blue'], None]
    assert found(images, [two, '[a red] one'], phrases=shared) == [['blue'], ['blue'], ['a red']]
    assert found(images, 'a red one', phrases=[['red'], ['one']]) == [['red'], ['one']]


def test_panoptic_segmentation(toy_files, tmp_path):
    inferencer = GroundingInferencer(
        toy_config(panoptic=True), toy_files.checkpoint, 'cpu', show_progress=False
    )
    # "red" is surer of the red pixels than the phrases of two colours, which overlap fully.
    text = '[red or green], [green red], [red], [a cat] and [something blue]'
    result = inferencer(toy_files.image, text, out_dir=tmp_path, panoptic=True, return_vis=True)
    (prediction,) = result['predictions']
    ground, red, blue = prediction['segments']
    assert [segment['phrases'] for segment in (ground, red, blue)] == [[0, 1], [2], [4]]
    masks = np.stack([coco_mask.decode(s['mask']).astype(bool) for s in (ground, red, blue)])
    assert masks.sum(0).max() == 1
    assert np.logical_xor(masks[1], expected_mask('red')).sum() <= 70
    assert np.logical_xor(masks[2], expected_mask('blue')).sum() <= 50
    assert ground['score'] == pytest.approx(0.75, abs=0.03)
    # The masks of the phrases themselves still overlap.
    phrases = prediction['phrases']
    assert phrases[0]['area'] > ground['area'] + 150 and phrases[3]['area'] == 0
    assert json.loads(json.dumps(prediction)) == prediction
    # Two panels: masks, and what is left of them.
    (picture,) = result['visualization']
    assert picture.shape[1] > 2 * 640

    assert {Path(path).relative_to(tmp_path).as_posix() for path in result['files']} == {
        'vis/photo.png',
        'preds/photo.json',
        'panoptic/photo.png',
        'panoptic/photo.json',
    }
    content = json.loads((tmp_path / 'panoptic' / 'photo.json').read_text())
    (annotation,) = content['annotations']
    # Read back as COCO's own tools do.
    rgb = cv2.imread(str(tmp_path / 'panoptic' / annotation['file_name']))[..., ::-1]
    ids = rgb.astype(np.int64) @ [1, 256, 65536]
    for info, mask in zip(annotation['segments_info'], masks, strict=True):
        assert np.array_equal(ids == info['id'], mask)
        assert info['area'] == mask.sum()
    assert ((ids == 0) == ~masks.any(0)).all()

    # Later calls know nothing of it.
    assert 'segments' not in inferencer(toy_files.image, text)['predictions'][0]
    assert inferencer.model.head.test_cfg['keep_grid_probs'] is False


def test_panoptic_segmentation_merges_the_probabilities_of_a_ppmn(small_inferencer, toy_files):
    inferencer, _ = small_inferencer
    (sample,) = inferencer(
        toy_files.image, '[a red star] on [the grass]', panoptic=True, return_datasamples=True
    )['predictions']
    probs = sample.geometry.inverse_masks(sample.pred_phrases.grid_probs)
    assert torch.equal(probs > 0.5, sample.pred_phrases.masks)
    segment_map, segments = merge_panoptic(probs)
    assert torch.equal(sample.pred_panoptic.segment_map, segment_map)
    assert sample.pred_panoptic.segments == segments
    assert torch.equal(segment_map > 0, sample.pred_phrases.masks.any(0)) and len(segments)


def test_a_system_without_probabilities_has_no_panoptic_segmentation(inferencer, toy_files):
    with pytest.raises(ValueError, match=r'ToyGrounder keeps none \(its test_cfg'):
        inferencer(toy_files.image, '[red]', panoptic=True)


def test_preprocess_yields_batches_for_the_model(inferencer):
    batches = list(inferencer.preprocess([toy_image() for _ in range(3)], 2, texts='[red]'))
    assert [len(batch['inputs']) for batch in batches] == [2, 1]
    assert batches[0]['inputs'][0].shape == (3, 24, 32)
    assert 'gt_regions' not in batches[0]['data_samples'][0]


def test_a_predicted_box_goes_before_the_box_of_the_mask(toy_files):
    inferencer = GroundingInferencer(
        toy_config(), toy_files.checkpoint, 'cpu', cfg_options={'model.predict_boxes': True}
    )
    assert inferencer.cfg.model.predict_boxes
    phrase = inferencer(toy_files.image, '[red]')['predictions'][0]['phrases'][0]
    assert phrase['bbox'] == [1, 1, 1, 1] and phrase['area'] > 100


def test_the_registry_and_the_checkpoints_own_config(toy_files):
    inferencer = INFERENCERS.build(
        dict(
            type='GroundingInferencer',
            weights=toy_files.checkpoint,
            device='cpu',
            trust_checkpoint=True,
        )
    )
    assert inferencer(toy_files.image, '[red]')['predictions'][0]['phrases'][0]['area'] > 100


def test_the_configs_visualizer_is_used_without_its_back_ends(toy_files):
    config = toy_config()
    config.visualizer = dict(
        type='GroundingVisualizer',
        vis_backends=[dict(type='LocalVisBackend')],
        name='visualizer',
        min_side=320,
    )
    inferencer = GroundingInferencer(config, toy_files.checkpoint, 'cpu')
    picture = inferencer(toy_files.image, TEXT, return_vis=True)['visualization'][0]
    assert picture[:240, :320].mean() < 255 and picture.shape[1] < 400


def test_bad_input_gets_one_clear_error(inferencer, toy_files, tmp_path, monkeypatch):
    def refuses(kind, match, *args, **kwargs):
        with pytest.raises(kind, match=match):
            inferencer(*args, **kwargs)

    # Nothing below may get as far as the model, except for the unreadable image.
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(b'no image')
    unreadable = r'^image \S*broken\.jpg cannot be read: it is no image of a known format$'
    refuses(ValueError, unreadable, str(broken), '[red]')
    monkeypatch.setattr(inferencer, 'forward', None)
    image = toy_files.image
    refuses(FileNotFoundError, r'absent\.jpg does not exist', [image, 'absent.jpg'], '[red]')
    empty = tmp_path / 'empty'
    empty.mkdir()
    refuses(ValueError, r'empty holds no image', empty, '[red]')
    refuses(ValueError, 'list of images is empty', [], '[red]')
    refuses(ValueError, r'2 texts .* 1 image.* a list themselves', [image], ['[red]', '[blue]'])
    refuses(ValueError, '3 texts are given for 2 image', [image] * 2, ['[red]'] * 3)
    refuses(ValueError, 'texts of an image is empty', image, [])
    refuses(ValueError, 'texts of an image is empty', [image], [[]])
    refuses(TypeError, r"list of strings, got \[\['\[red\]'\]\]", image, [['[red]']])
    refuses(TypeError, 'texts must be a list or a tuple', [image], None)
    refuses(ValueError, '1 phrase lists are given for 2', [image] * 2, 'red', [['red']])
    refuses(ValueError, '1 phrase lists .* 2 texts', image, ['red', 'blue'], [['red']])
    refuses(TypeError, 'phrases of a text', image, ['red', 'red'], [['red'], [['red']]])
    refuses(ValueError, "'cat' does not occur", image, 'a red thing', phrases=['cat'])
    refuses(TypeError, 'list of strings', image, 'a red thing', phrases='red')
    refuses(ValueError, 'never closed', image, 'a [red')
    refuses(ValueError, 'batch_size', image, '[red]', batch_size=0)
    refuses(ValueError, r'float32 \(48, 64, 3\)', toy_image().astype(np.float32), '[red]')
    refuses(ValueError, r'uint8 \(48, 64\)', toy_image()[..., 0], '[red]')
    refuses(TypeError, 'int', [3], '[red]')
    monkeypatch.setitem(__import__('sys').modules, 'spacy', None)
    markup._spacy_model.cache_clear()
    refuses(ImportError, 'brackets', image, 'a red thing')


def test_wrong_configs_get_one_clear_error(toy_files):
    with pytest.raises(FileNotFoundError, match=r'config absent\.py does not exist'):
        GroundingInferencer('absent.py')
    config = toy_config()
    config.test_dataloader = None
    with pytest.raises(ValueError, match='no test_dataloader'):
        GroundingInferencer(config, toy_files.checkpoint)
    config = toy_config()
    config.test_dataloader.dataset.dataset.pipeline.pop(0)
    with pytest.raises(ValueError, match='must begin with one of LoadGroundingImage'):
        GroundingInferencer(config, toy_files.checkpoint)


def test_a_progress_bar_for_several_batches(toy_files, capsys):
    inferencer = GroundingInferencer(toy_config(), toy_files.checkpoint, 'cpu')
    inferencer([toy_image()], '[red]')
    assert 'Grounding' not in capsys.readouterr().out
    inferencer([toy_image(), toy_image()], '[red]')
    assert 'Grounding' in capsys.readouterr().out


def test_no_gradients_are_kept(inferencer, toy_files):
    (sample,) = inferencer(toy_files.image, '[red]', return_datasamples=True)['predictions']
    assert not sample.pred_phrases.scores.requires_grad
    assert isinstance(sample.pred_phrases.masks, torch.Tensor)
