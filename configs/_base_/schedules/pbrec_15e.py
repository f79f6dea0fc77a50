# PBREC: AdamW, 15 epochs; cosine decay of the learning rate in each iteration, from 1e-4 to 1e-6.
# The pre-trained encoders start from that floor, and stay there.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(
        custom_keys=dict(backbone=dict(lr_mult=0.01), text_encoder=dict(lr_mult=0.01))
    ),
)
param_scheduler = dict(
    type='CosineAnnealingLR',
    by_epoch=True,
    begin=0,
    end=15,
    T_max=15,
    eta_min=1e-6,
    convert_to_iter_based=True,
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=15, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
