# PBREC-MT on RefCOCO with the official code's recipe.
_base_ = [
    '../_base_/models/pbrec-localised_r101.py',
    '../_base_/datasets/refcoco.py',
    '../_base_/schedules/pbrec_15e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=32)

# Acc@0.5 of the boxes; of a model without them mIoU; without localisers the accuracy of the best
# point, by which the official code selects.
default_hooks = dict(checkpoint=dict(save_best='auto', rule='greater'))
# The official launcher gives every one of its 4 GPUs 32 expressions.
auto_scale_lr = dict(enable=False, base_batch_size=128)
