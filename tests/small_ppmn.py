"""A PPMN of a few thousand parameters, and samples that it can eat."""

import torch
from mmengine.structures import InstanceData

from mmground.models.heads import PhraseQueries
from mmground.registry import MODELS
from mmground.structures import Geometry, GroundingDataSample, parse_markup

WORDS = '[PAD] [UNK] [CLS] [SEP] [MASK] a red star on the grass two blue ##s ring .'


def write_vocabulary(path):
    """Write a WordPiece vocabulary of a few words; returns the path as a string."""
    path.write_text('\n'.join(WORDS.split()) + '\n')
    return str(path)


def small_ppmn(vocab_file, **changes):
    """Config of a small PPMN; keyword arguments replace top-level keys."""
    norm_cfg = dict(type='GN', num_groups=4)
    cfg = dict(
        type='Grounder',
        data_preprocessor=dict(
            type='GroundingDataPreprocessor',
            mean=[103.53, 116.28, 123.675],
            std=[1.0, 1.0, 1.0],
            pad_size_divisor=32,
        ),
        backbone=dict(type='mmdet.ResNet', depth=18, base_channels=8, out_indices=(0, 1, 2, 3)),
        neck=[
            dict(type='mmdet.FPN', in_channels=[8, 16, 32, 64], out_channels=16, num_outs=4),
            dict(type='SemanticFPN', in_channels=16, channels=16, norm_cfg=norm_cfg),
        ],
        text_encoder=dict(
            type='BertEncoder',
            vocab_file=vocab_file,
            vocab_size=20,
            hidden_size=24,
            num_layers=1,
            num_heads=2,
            intermediate_size=24,
            max_positions=32,
            max_length=16,
        ),
        head=dict(
            type='PhrasePixelHead',
            in_channels=16,
            text_channels=24,
            channels=16,
            num_rounds=2,
            refinement=dict(
                type='LCPA',
                num_points=4,
                aggregation=dict(type='MCA', num_heads=2, ffn_channels=16),
            ),
            norm_cfg=norm_cfg,
        ),
    )
    return {**cfg, **changes}


def build(vocab_file, **changes):
    """Build the small model with reproducible weights."""
    torch.manual_seed(0)
    return MODELS.build(small_ppmn(vocab_file, **changes))


def sample(text, ori_shape=(20, 30), img_shape=(40, 60), path='a.jpg', gt=True, seed=0):
    """An image and a data sample whose phrases are bracketed in ``text``."""
    generator = torch.Generator().manual_seed(seed)
    plain, phrases = parse_markup(text)
    data_sample = GroundingDataSample(
        metainfo=dict(
            sample_id=f'{path}:{text}',
            img_id=path,
            img_path=path,
            text=plain,
            phrases=phrases,
            ori_shape=ori_shape,
            img_shape=img_shape,
            geometry=Geometry(ori_shape, img_shape),
        )
    )
    if gt:
        masks = torch.rand(len(phrases), *ori_shape, generator=generator) > 0.5
        links = torch.arange(len(phrases))[:, None].repeat(1, 2)
        is_thing = torch.ones(len(phrases), dtype=torch.bool)
        data_sample.gt_regions = InstanceData(masks=masks, is_thing=is_thing)
        data_sample.links = links
    # One path, one picture, whatever the text.
    pixels = torch.Generator().manual_seed(sum(str(path).encode()))
    image = torch.randint(256, (3, *img_shape), generator=pixels).to(torch.uint8)
    return image, data_sample


def batch(*pairs):
    """Collate pairs of image and sample as ``pseudo_collate`` does."""
    images, data_samples = zip(*pairs, strict=True)
    return dict(inputs=list(images), data_samples=list(data_samples))


def packed_queries(features, image_index):
    """Queries of one text, each a phrase of its own."""
    index = torch.arange(len(features))
    return PhraseQueries(features, image_index, index, index, (len(features),))
