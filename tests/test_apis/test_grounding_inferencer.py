import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from toy_grounder import toy_config, toy_image

from mmground.apis import GroundingInferencer
from mmground.registry import INFERENCERS
from mmground.structures import GroundingDataSample, markup

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


def test_preprocess_yields_batches_for_the_model(inferencer, toy_files):
    batches = list(inferencer.preprocess([toy_files.image] * 3, 2, texts='[red]'))
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
    refuses(ValueError, r'broken\.jpg.*cannot be read', str(broken), '[red]')
    monkeypatch.setattr(inferencer, 'forward', None)
    image = toy_files.image
    refuses(FileNotFoundError, r'absent\.jpg does not exist', [image, 'absent.jpg'], '[red]')
    empty = tmp_path / 'empty'
    empty.mkdir()
    refuses(ValueError, r'empty holds no image', empty, '[red]')
    refuses(ValueError, 'list of images is empty', [], '[red]')
    refuses(ValueError, '2 texts are given for 1 image', image, ['[red]', '[blue]'])
    refuses(ValueError, '1 phrase lists are given for 2', [image] * 2, 'red', [['red']])
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
    inferencer([toy_image()] * 2, '[red]')
    assert 'Grounding' in capsys.readouterr().out


def test_no_gradients_are_kept(inferencer, toy_files):
    (sample,) = inferencer(toy_files.image, '[red]', return_datasamples=True)['predictions']
    assert not sample.pred_phrases.scores.requires_grad
    assert isinstance(sample.pred_phrases.masks, torch.Tensor)
