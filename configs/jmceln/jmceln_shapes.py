# JMCELN with small widths on Grounding Shapes, on two CPU cores. Its encoders are trained first:
# tools/train.py configs/jmceln/clip_shapes.py.
_base_ = [
    '../_base_/models/clip_shapes.py',
    '../_base_/datasets/refcoco_shapes.py',
    '../_base_/schedules/detector_shapes.py',
]

embed_dim = {{_base_.embed_dim}}
channels = 64
image_size = 192
max_iters = 1300
warmup_iters = 50
# What tools/train.py writes for clip_shapes.py.
clip_checkpoint = 'work_dirs/clip_shapes/iter_1200.pth'

model = dict(
    type='Grounder',
    backbone=dict(
        init_cfg=dict(
            _delete_=True, type='Pretrained', checkpoint=clip_checkpoint, prefix='backbone.'
        ),
    ),
    text_encoder=dict(
        init_cfg=dict(
            _delete_=True, type='Pretrained', checkpoint=clip_checkpoint, prefix='text_encoder.'
        ),
    ),
    head=dict(
        type='ContextualCascadeHead',
        in_channels=(128, 256, embed_dim),
        sentence_channels=embed_dim,
        channels=channels,
        num_stages=2,
        num_contexts=12,
        num_heads=2,
        fusion=dict(with_coord=True),
        # A map of 24 x 24 cells: as many windows, and relations as long, as on the paper's 52.
        lsran=dict(
            window_size=6,
            branches=[
                dict(kernel_size=1, dilation=1),
                dict(kernel_size=3, dilation=3),
                dict(kernel_size=3, dilation=6),
                dict(kernel_size=3, dilation=9),
            ],
        ),
        # Classified at half of the canvas, which pictures of 128 pixels hardly exceed; a thing has
        # a few hundredths of it.
        upsampling=dict(channels=(32, 16), logits_scale=2, foreground_prior=0.03),
        # The paper has the cross-entropy alone. By it a thing is foreground where it is more likely
        # meant than not, so that a model that is not sure yet has empty masks.
        loss_dice=dict(type='mmdet.DiceLoss', naive_dice=True, eps=1.0),
    ),
)

train_pipeline = [
    dict(type='LoadGroundingImage'),
    dict(type='DrawSentence'),
    dict(type='Letterbox', size=image_size, interpolation='bicubic'),
    dict(type='RandomFlipWithText', prob=0.5),
    dict(type='LoadGroundingMasks'),
    dict(type='PackGroundingInputs'),
]
test_pipeline = [
    dict(type='LoadGroundingImage'),
    dict(type='Letterbox', size=image_size, interpolation='bicubic'),
    dict(type='LoadGroundingMasks'),
    dict(type='PackGroundingInputs'),
]
train_dataloader = dict(
    # All things of a picture, one expression each: only the text tells which of them is meant.
    batch_size=48,
    # Both cores compute.
    num_workers=0,
    persistent_workers=False,
    sampler=dict(same_draws=True),
    dataset=dict(unit='ref', pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

# Ten times the rate for all that starts from scratch, the ratio of CRIS.
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(
        custom_keys=dict(backbone=dict(lr_mult=0.1), text_encoder=dict(lr_mult=0.1))
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, begin=0, end=warmup_iters, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=warmup_iters, end=max_iters, by_epoch=False),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(
    checkpoint=dict(interval=max_iters, save_best='referring/original/mIoU', rule='greater'),
)
auto_scale_lr = dict(base_batch_size=48)
