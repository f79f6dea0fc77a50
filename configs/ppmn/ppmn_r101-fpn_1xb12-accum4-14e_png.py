# The official total batch of 48 on one GPU: four batches of 12 make a step. The frozen encoders,
# most of the work, run in bfloat16.
_base_ = './ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(frozen_dtype='bfloat16')
optim_wrapper = dict(accumulative_counts=4)
# MMEngine does not count accumulated batches.
auto_scale_lr = dict(base_batch_size=12)
