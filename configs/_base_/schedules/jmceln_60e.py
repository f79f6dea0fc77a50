# JMCELN: AdamW at 6e-6, polynomial decay with power 0.9, 60 epochs. What it leaves open: weight
# decay, that the rate falls in each iteration, without warm-up, and that batches are normalised
# over all GPUs.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-6, weight_decay=0.01),
    paramwise_cfg=dict(
        # Normalisations, biases, and all else that has one dimension, SwitchNorm's for one.
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            'positional_embedding': dict(decay_mult=0.0),
            'token_embedding': dict(decay_mult=0.0),
            'relative_position_bias_table': dict(decay_mult=0.0),
            'head.context.': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = dict(
    type='PolyLR',
    power=0.9,
    eta_min=0.0,
    by_epoch=True,
    begin=0,
    end=60,
    convert_to_iter_based=True,
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=60, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
sync_bn = 'torch'
