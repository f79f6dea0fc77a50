_base_ = [
    '../_base_/models/ppmn_r101-fpn.py',
    '../_base_/datasets/png.py',
    '../_base_/schedules/ppmn_14e.py',
    '../_base_/default_runtime.py',
]

model = dict(text_encoder=dict(vocab_file={{_base_.vocab_file}}))

# The official code selects on its own grid.
default_hooks = dict(checkpoint=dict(save_best='png/ppmn/AR', rule='greater'))
# The official launcher gives every one of its 4 GPUs 12 narratives.
auto_scale_lr = dict(enable=False, base_batch_size=48)
