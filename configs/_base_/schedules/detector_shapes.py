# From scratch, in minutes on two CPU cores.
_base_ = '../default_runtime.py'

max_iters = 1200

optim_wrapper = dict(
    type='CPUAmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = dict(
    type='OneCycleLR', eta_max=2e-3, total_steps=max_iters, pct_start=0.1, by_epoch=False
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=max_iters),
    logger=dict(log_metric_by_epoch=False),
)
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(enable=False, base_batch_size=16)
