# Images are squashed to the canvas instead of letterboxed, as in LAVT.
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

resize = dict(
    type='Resize', scale=(416, 416), keep_ratio=False, backend='pillow', interpolation='bicubic'
)
train_pipeline = [
    dict(type='LoadGroundingImage', backend_args={{_base_.backend_args}}),
    dict(type='DrawSentence'),
    resize,
    dict(type='LoadGroundingMasks', backend_args={{_base_.backend_args}}),
    dict(type='PackGroundingInputs'),
]
test_pipeline = [
    dict(type='LoadGroundingImage', backend_args={{_base_.backend_args}}),
    resize,
    dict(type='LoadGroundingMasks', backend_args={{_base_.backend_args}}),
    dict(type='PackGroundingInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
