"""A PBREC of a few thousand parameters, and samples that it can eat."""

from types import SimpleNamespace

import mmcv
import torch
from mmengine.structures import InstanceData
from small_detectors import randomise, small_fcos, small_solo
from small_ppmn import small_ppmn, write_vocabulary
from toy_grounder import toy_config, toy_image

from mmground.registry import MODELS
from mmground.structures import Geometry, GroundingDataSample


def small_pbrec(vocab_file, **head):
    """Config of a small PBREC-MT of stride 32; keyword arguments replace keys of its head."""
    cfg = small_ppmn(vocab_file)
    return dict(
        type='Grounder',
        data_preprocessor=cfg['data_preprocessor'],
        backbone=dict(
            type='mmdet.ResNet', depth=18, base_channels=8, out_indices=(3,), norm_eval=True
        ),
        text_encoder=cfg['text_encoder'],
        head=dict(
            type='PointGroundingHead',
            in_channels=64,
            text_channels=24,
            channels=16,
            fusion=dict(
                type='VisionLanguageEncoder', num_layers=2, num_heads=2, feedforward_channels=16
            ),
        )
        | head,
    )


def expression(text, box=(30.0, 40.0, 90.0, 100.0), path='a.jpg', img_shape=(128, 160), gt=True):
    """An image and a sample whose whole text refers to a rectangle, xyxy, of the original image.

    The image is shown at its own size, in the corner of the canvas.
    """
    sample = GroundingDataSample(
        metainfo=dict(
            sample_id=f'{path}:{text}',
            img_id=path,
            img_path=path,
            text=text,
            phrases=[dict(text=text, span=(0, len(text)), type='', phrase_id='0')],
            ori_shape=img_shape,
            img_shape=img_shape,
            geometry=Geometry(img_shape, img_shape),
        )
    )
    if gt:
        mask = torch.zeros(1, *img_shape, dtype=torch.bool)
        x1, y1, x2, y2 = (round(value) for value in box)
        mask[0, y1:y2, x1:x2] = True
        sample.gt_regions = InstanceData(bboxes=torch.tensor([box]), masks=mask)
        sample.links = torch.tensor([[0, 0]])
    pixels = torch.Generator().manual_seed(sum(path.encode()))
    return torch.randint(256, (3, *img_shape), generator=pixels).to(torch.uint8), sample


def referring_model(vocab_file, localisers=('box', 'mask'), **head):
    """Config of a small PBREC-MT with its detectors."""
    detectors = dict(
        box=dict(type='FCOSLocaliser', detector=small_fcos()),
        mask=dict(type='SOLOLocaliser', detector=small_solo()),
    )
    localisers = {name: detectors[name] for name in localisers}
    return dict(small_pbrec(vocab_file, **head), localisers=localisers)


def referring_files(folder, localisers=('box', 'mask'), **head):
    """A small PBREC-MT with weights drawn at random, and an image, on disk.

    Returns ``config``, ``checkpoint`` and ``image`` (48 x 64 pixels, on a canvas of 128 x 128).
    """
    model = referring_model(write_vocabulary(folder / 'vocab.txt'), localisers, **head)
    files = expression_files(folder, model)
    if 'box' in localisers:
        checkpoint = torch.load(files.checkpoint)
        # Logarithms of distances: boxes of some 40 pixels, which overlap.
        checkpoint['state_dict']['localisers.box.detector.bbox_head.conv_reg.bias'] += 3
        torch.save(checkpoint, files.checkpoint)
    return files


def expression_files(folder, model):
    """Any model of referring expressions with weights drawn at random, as `referring_files`."""
    config = toy_config()
    config.model = model
    pipeline = config.test_dataloader.dataset.dataset.pipeline
    pipeline[1] = dict(type='Letterbox', size=128)
    files = SimpleNamespace(
        config=str(folder / 'referring.py'),
        checkpoint=str(folder / 'referring.pth'),
        image=str(folder / 'images' / 'photo.png'),
    )
    config.dump(files.config)
    state = randomise(MODELS.build(config.model)).state_dict()
    torch.save(dict(state_dict=state), files.checkpoint)
    mmcv.imwrite(toy_image(), files.image)
    return files
