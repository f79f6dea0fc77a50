# At 256 pixels, as wide as DRMN's shapes configs and on the same frozen encoders, for comparing
# the two. First: python tools/train.py configs/ppmn/ppmn_r18-fpn_1xb8_shapes256-encoders.py
_base_ = './ppmn_r18-fpn_1xb8_shapes256-encoders.py'

encoders = 'work_dirs/ppmn_r18-fpn_1xb8_shapes256-encoders/iter_800.pth'
channels = 64
max_iters = 400

model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=encoders, prefix='backbone')),
    neck=[
        dict(
            type='mmdet.FPN',
            in_channels=[32, 64, 128, 256],
            out_channels=channels,
            num_outs=4,
            init_cfg=dict(type='Pretrained', checkpoint=encoders, prefix='neck.0'),
        ),
        dict(type='SemanticFPN', in_channels=channels, channels=channels, out_stride=8),
    ],
    text_encoder=dict(init_cfg=dict(type='Pretrained', checkpoint=encoders, prefix='text_encoder')),
    head=dict(num_rounds=3),
    frozen=['backbone', 'neck.0', 'text_encoder'],
)

# A smaller peak than from scratch: at 2e-3 later rounds lag behind the first map.
param_scheduler = dict(eta_max=1e-3, total_steps=max_iters)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
