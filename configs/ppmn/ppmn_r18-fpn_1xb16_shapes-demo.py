# The short schedule of `make demo`.
_base_ = './ppmn_r18-fpn_1xb16_shapes.py'

max_iters = 550

param_scheduler = dict(total_steps=max_iters)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
