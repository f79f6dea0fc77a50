# JMCELN with the paper's sizes on the encoders of CLIP.
_base_ = './clip_r101.py'
model = dict(
    type='Grounder',
    head=dict(
        type='ContextualCascadeHead',
        in_channels=(512, 1024, 512),
        sentence_channels=512,
        channels=1024,
        num_stages=6,
        num_contexts=20,
        num_heads=8,
        # Statistics of the batch on all GPUs, as sync_bn of the schedule.
        alignment=dict(norm_cfg=dict(type='SwitchNorm2d', sync=True)),
    ),
)
