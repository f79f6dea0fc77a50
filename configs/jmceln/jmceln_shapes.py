# JMCELN with small widths on Grounding Shapes, on two CPU cores. There are no weights of CLIP here:
# all is trained from scratch.
_base_ = [
    '../_base_/models/jmceln_r101.py',
    '../_base_/datasets/refcoco_shapes.py',
    '../_base_/schedules/detector_shapes.py',
]

channels = 128
text_channels = 128
image_size = 128
max_iters = 1400
warmup_iters = 100

model = dict(
    backbone=dict(
        width=24,
        blocks=(1, 1, 1, 1),
        attention_pool=dict(embed_dim=channels, num_heads=8, grid_size=image_size // 32),
        init_cfg=None,
    ),
    text_encoder=dict(
        hidden_size=text_channels,
        num_layers=2,
        num_heads=4,
        embed_dim=text_channels,
        init_cfg=None,
    ),
    head=dict(
        in_channels=(192, 384, channels),
        sentence_channels=text_channels,
        channels=channels,
        num_stages=3,
        num_contexts=12,
        # A map of 16 x 16 cells: as many windows, and relations as long, as on the paper's 52.
        lsran=dict(
            window_size=4,
            branches=[
                dict(kernel_size=1, dilation=1),
                dict(kernel_size=3, dilation=2),
                dict(kernel_size=3, dilation=4),
                dict(kernel_size=3, dilation=6),
            ],
        ),
        # At full resolution each channel costs as much as many further up.
        upsample_channels=(48, 24, 8),
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
    # Batches of few images have too little to tell apart, and to normalise over.
    sampler=dict(_delete_=True, type='SeededDefaultSampler', shuffle=True),
    drop_last=True,
    dataset=dict(unit='ref', pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, begin=0, end=warmup_iters, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=warmup_iters, end=max_iters, by_epoch=False),
]
train_cfg = dict(max_iters=max_iters, val_interval=700)
default_hooks = dict(
    checkpoint=dict(interval=700, save_best='referring/original/mIoU', rule='greater'),
)
auto_scale_lr = dict(base_batch_size=32)
