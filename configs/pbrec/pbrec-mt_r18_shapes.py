# PBREC-MT with small widths on Grounding Shapes, on two CPU cores. Its detectors are trained first:
# tools/train.py with fcos_r18_shapes.py and with solo_r18_shapes.py. The backbone is FCOS's, and
# frozen, so that twice as many steps fit into the same time.
_base_ = [
    '../_base_/models/pbrec_r101.py',
    '../_base_/models/shapes_detectors.py',
    '../_base_/datasets/refcoco_shapes.py',
    '../_base_/schedules/detector_shapes.py',
]

channels = 128
text_channels = 128
max_iters = 2000
# What tools/train.py writes for the detectors' configs.
fcos_checkpoint = 'work_dirs/fcos_r18_shapes/iter_1200.pth'
solo_checkpoint = 'work_dirs/solo_r18_shapes/iter_1200.pth'

model = dict(
    data_preprocessor=dict(pad_size_divisor=16),
    backbone=dict(
        depth=18,
        base_channels=32,
        # C4, of stride 16: as many points as FCOS has.
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        frozen_stages=3,
        init_cfg=dict(
            _delete_=True, type='Pretrained', checkpoint=fcos_checkpoint, prefix='backbone.'
        ),
    ),
    text_encoder=dict(
        vocab_file={{_base_.vocab_file}},
        vocab_size=320,
        hidden_size=text_channels,
        num_layers=2,
        # A few epochs from scratch: the model underfits.
        dropout=0.0,
        num_heads=4,
        intermediate_size=4 * text_channels,
        max_positions=64,
        init_cfg=None,
    ),
    head=dict(
        in_channels=128,
        text_channels=text_channels,
        channels=channels,
        fusion=dict(num_layers=2, num_heads=4, feedforward_channels=4 * channels, dropout=0.0),
        # Things of one or two cells: none of them is left without a positive point.
        targets=dict(rec=dict(form='fixed'), res=dict(form='fixed')),
        # For the same reason the next best of the few points are mostly on other things.
        test_cfg=dict(topk=1),
    ),
    localisers=dict(
        box=dict(
            type='FCOSLocaliser',
            level=0,
            checkpoint=fcos_checkpoint,
            detector={{_base_.fcos}},
        ),
        mask=dict(
            type='SOLOLocaliser',
            level=0,
            checkpoint=solo_checkpoint,
            detector={{_base_.solo}},
        ),
    ),
)

# From scratch, pictures of a step have to differ: with the expressions of four or five pictures, as
# the ImageGroupSampler would put into a batch, the model does not begin to read.
train_dataloader = dict(
    batch_size=48, sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True)
)

optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    # At the full rate it reads a little later.
    paramwise_cfg=dict(custom_keys=dict(text_encoder=dict(lr_mult=0.1))),
)
# A cycle would give all parts the same rate.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, begin=0, end=100, by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        begin=100,
        end=max_iters,
        T_max=max_iters - 100,
        eta_min=0.0,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=1000)
default_hooks = dict(
    checkpoint=dict(interval=1000, save_best='referring/original/Acc@0.5', rule='greater'),
)
auto_scale_lr = dict(base_batch_size=48)
