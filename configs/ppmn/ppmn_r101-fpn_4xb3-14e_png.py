# The paper's text: a total batch of 12 on 4 GPUs.
_base_ = './ppmn_r101-fpn_4xb12-14e_png.py'

train_dataloader = dict(batch_size=3)
auto_scale_lr = dict(base_batch_size=12)
