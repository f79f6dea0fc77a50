# The form of the paper.
_base_ = [
    '../_base_/models/drmn-paper_r101-fpn.py',
    '../_base_/datasets/png.py',
    '../_base_/schedules/drmn_20e.py',
    '../_base_/default_runtime.py',
]

model = dict(text_encoder=dict(vocab_file={{_base_.vocab_file}}))
train_dataloader = dict(batch_size=10)

default_hooks = dict(checkpoint=dict(save_best='png/ppmn/AR', rule='greater'))
auto_scale_lr = dict(enable=False, base_batch_size=10)
