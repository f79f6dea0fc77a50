# Foreground counts more, as in LAVT (which divides by the sum of the weights).
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

model = dict(
    head=dict(
        loss_ce=dict(type='mmdet.CrossEntropyLoss', class_weight=[0.9, 1.1], avg_non_ignore=True)
    )
)
