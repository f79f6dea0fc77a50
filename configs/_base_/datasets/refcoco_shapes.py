# Grounding Shapes with expressions in the layout of the refer API, on a canvas of 192 pixels. Make
# them with:
# python tools/misc/make_shapes.py data/shapes --format refcoco --train 2000 --val 200
dataset_type = 'RefCocoDataset'
data_root = 'data/shapes'
vocab_file = f'{data_root}/vocab.txt'
data_prefix = dict(img_path='images')
image_size = 192

train_pipeline = [
    dict(type='LoadGroundingImage'),
    # Pictures are square and small: they are enlarged to fill the canvas.
    dict(type='Letterbox', size=image_size),
    dict(type='RandomFlipWithText', prob=0.5),
    dict(type='LoadGroundingMasks'),
    dict(type='PackGroundingInputs'),
]
test_pipeline = [
    dict(type='LoadGroundingImage'),
    dict(type='Letterbox', size=image_size),
    dict(type='LoadGroundingMasks'),
    dict(type='PackGroundingInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ImageGroupSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        name='refcoco',
        split='train',
        data_root=data_root,
        data_prefix=data_prefix,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='ContiguousSampler'),
    dataset=dict(
        type=dataset_type,
        name='refcoco',
        split='val',
        data_root=data_root,
        data_prefix=data_prefix,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='ContiguousSampler'),
    dataset=dict(
        type=dataset_type,
        name='refcoco',
        split='held-out',
        data_root=data_root,
        data_prefix=data_prefix,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)

val_evaluator = dict(type='ReferringMetric')
test_evaluator = dict(type='ReferringMetric', breakdown=True)
