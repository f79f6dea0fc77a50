"""A model without training: a phrase that names a colour refers to its pixels."""

from types import SimpleNamespace

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import nn

from mmground.registry import MODELS

# BGR, as the pipeline loads images.
COLORS = dict(red=(0, 0, 255), green=(0, 255, 0), blue=(255, 0, 0))


@MODELS.register_module(force=True)
class ToyGrounder(BaseModel):
    """Mask of a phrase: the pixels of the colours that it names. Score: ``strength``.

    With ``panoptic`` it has a head that keeps probabilities: a phrase that names fewer colours
    is surer of them.
    """

    def __init__(
        self,
        channels: int = 2,
        predict_boxes: bool = False,
        panoptic: bool = False,
        data_preprocessor=None,
    ):
        super().__init__(data_preprocessor)
        if panoptic:
            self.head = SimpleNamespace(test_cfg=dict(threshold=0.5, keep_grid_probs=False))
        self.strength = nn.Parameter(torch.full((channels,), 0.25))
        self.predict_boxes = predict_boxes

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert mode == 'predict'
        for image, sample in zip(inputs, data_samples, strict=True):
            assert image.dtype == torch.uint8 and tuple(image.shape[1:]) == sample.img_shape
            masks = torch.zeros((len(sample.phrases), *image.shape[1:]))
            for mask, phrase in zip(masks, sample.phrases, strict=True):
                for name in COLORS.keys() & phrase['text'].split():
                    color = torch.tensor(COLORS[name])[:, None, None]
                    mask[(image.int() - color).abs().amax(0) < 100] = 1
            geometry = sample.geometry.on_canvas(sample.img_shape)
            sample.pred_phrases = InstanceData(
                masks=geometry.inverse_masks(masks) > 0.5,
                scores=self.strength.detach().mean().expand(len(masks)),
            )
            if hasattr(self, 'head') and self.head.test_cfg['keep_grid_probs']:
                sample.set_metainfo(dict(geometry=geometry))
                colors = [len(COLORS.keys() & phrase['text'].split()) for phrase in sample.phrases]
                surety = 0.95 - 0.1 * torch.tensor(colors, dtype=torch.float32)
                sample.pred_phrases.grid_probs = masks * surety[:, None, None]
            if self.predict_boxes:
                sample.pred_phrases.bboxes = torch.ones(len(masks), 4)
        return data_samples


def toy_config(**model) -> Config:
    """A config with a real test pipeline that halves images of 64 x 48 pixels."""
    pipeline = [
        dict(type='LoadGroundingImage'),
        dict(type='Resize', scale=(32, 24), keep_ratio=True, backend='pillow'),
        dict(type='LoadGroundingMasks'),
        dict(type='PackGroundingInputs'),
    ]
    return Config(
        dict(
            default_scope='mmground',
            model=dict(type='ToyGrounder', **model),
            test_dataloader=dict(
                dataset=dict(
                    type='RepeatDataset', dataset=dict(type='PNGDataset', pipeline=pipeline)
                )
            ),
        )
    )


def toy_image() -> np.ndarray:
    """A red square (16 x 16) and a blue one (8 x 16, h x w) on green. BGR, (48, 64, 3)."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:] = COLORS['green']
    image[8:24, 8:24] = COLORS['red']
    image[32:40, 40:56] = COLORS['blue']
    return image
