# Encoders of pictures of 256 pixels and of their texts, trained from scratch on Grounding Shapes by
# PPMN without a round. The other configs at this size start from them and keep them frozen, as
# the full recipes do with theirs.
_base_ = './ppmn_r18-fpn_1xb16_shapes.py'

channels = 64
max_iters = 800
pipeline = [
    dict(type='LoadGroundingImage'),
    dict(
        type='Resize', scale=(256, 256), keep_ratio=True, backend='pillow', interpolation='bilinear'
    ),
    dict(type='LoadGroundingMasks'),
    dict(type='PackGroundingInputs'),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader

model = dict(
    neck=[
        dict(type='mmdet.FPN', in_channels=[32, 64, 128, 256], out_channels=channels, num_outs=4),
        dict(type='SemanticFPN', in_channels=channels, channels=channels, out_stride=8),
    ],
    head=dict(
        in_channels=channels,
        channels=channels,
        num_rounds=0,
        refinement=dict(num_points=64),
    ),
)

param_scheduler = dict(total_steps=max_iters)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
auto_scale_lr = dict(base_batch_size=8)
