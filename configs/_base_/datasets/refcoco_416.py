# RefCOCO as JMCELN sees it: letterboxed to 416 pixels, not augmented; in training one expression is
# drawn for an object, anew each time. Of this, the paper says 416 pixels; the others are choices.
_base_ = './refcoco.py'

image_size = 416

train_pipeline = [
    dict(type='LoadGroundingImage', backend_args={{_base_.backend_args}}),
    dict(type='DrawSentence'),
    dict(type='Letterbox', size=image_size, interpolation='bicubic'),
    dict(type='LoadGroundingMasks', backend_args={{_base_.backend_args}}),
    dict(type='PackGroundingInputs'),
]
test_pipeline = [
    dict(type='LoadGroundingImage', backend_args={{_base_.backend_args}}),
    dict(type='Letterbox', size=image_size, interpolation='bicubic'),
    dict(type='LoadGroundingMasks', backend_args={{_base_.backend_args}}),
    dict(type='PackGroundingInputs'),
]

train_dataloader = dict(batch_size=10, dataset=dict(unit='ref', pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(batch_size=16, dataset=dict(pipeline=test_pipeline))
