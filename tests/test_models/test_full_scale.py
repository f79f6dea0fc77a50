"""The full-size recipe on an image of the usual size: slow, so apart from the suite."""

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmground.registry import MODELS
from mmground.structures import Geometry, GroundingDataSample, parse_markup

pytestmark = pytest.mark.slow

WORDS = '[PAD] [UNK] [CLS] [SEP] [MASK] in this picture there is a man on the grass'


def test_ppmn_learns_and_grounds_at_full_size(config_dir, tmp_path):
    vocab_file = tmp_path / 'vocab.txt'
    vocab_file.write_text('\n'.join(dict.fromkeys(WORDS.split())))
    cfg = Config.fromfile(config_dir / 'ppmn' / 'ppmn_r101-fpn_4xb12-14e_png.py').model
    cfg.text_encoder.vocab_file = str(vocab_file)
    model = MODELS.build(cfg).train()

    text, phrases = parse_markup('In this picture there is [a man] on [the grass]')
    sample = GroundingDataSample(
        metainfo=dict(
            sample_id='0',
            img_id='0',
            img_path='0.jpg',
            text=text,
            phrases=phrases,
            ori_shape=(427, 640),
            img_shape=(800, 1199),
            geometry=Geometry((427, 640), (800, 1199)),
        )
    )
    masks = torch.zeros(2, 427, 640, dtype=torch.bool)
    masks[0, 100:300, 200:300] = True
    masks[1, 300:] = True
    sample.gt_regions = InstanceData(masks=masks, is_thing=torch.tensor([True, False]))
    sample.links = torch.tensor([[0, 0], [1, 1]])
    image = torch.randint(256, (3, 800, 1199), dtype=torch.uint8)
    data = dict(inputs=[image], data_samples=[sample])

    losses = model(**model.data_preprocessor(data, True), mode='loss')
    model.parse_losses(losses)[0].backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name

    (result,) = model.eval().test_step(data)
    assert result.pred_phrases.masks.shape == (2, 427, 640)
    assert result.pred_phrases.grid_probs.shape == (2, 200, 304)
