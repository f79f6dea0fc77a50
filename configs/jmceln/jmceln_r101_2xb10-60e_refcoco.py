# JMCELN on RefCOCO with the paper's recipe: a total batch of 20 on two GPUs.
_base_ = [
    '../_base_/models/jmceln_r101.py',
    '../_base_/datasets/refcoco_416.py',
    '../_base_/schedules/jmceln_60e.py',
    '../_base_/default_runtime.py',
]

# The weights with the best mIoU on val are those that the paper tests.
default_hooks = dict(checkpoint=dict(save_best='referring/original/mIoU', rule='greater'))
auto_scale_lr = dict(enable=False, base_batch_size=20)
