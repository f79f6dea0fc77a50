# RefCOCO in the layout of the refer API. Its expressions one by one, prepared as PBREC does.
dataset_type = 'RefCocoDataset'
data_root = 'data/refcoco/'
dataset_name = 'refcoco'
image_size = 640
backend_args = None

train_pipeline = [
    dict(type='LoadGroundingImage', backend_args=backend_args),
    # TransVG's crop, which PBREC leaves out: 0.5 switches it on.
    dict(type='RandomReferringCrop', prob=0.0),
    dict(
        type='Letterbox',
        size=image_size,
        long_sides=[640, 608, 576, 544, 512, 480, 448],
        placement='random',
    ),
    # Each expression changes its image in its own way: those of a batch share one only where
    # nothing differs. In evaluation they always do.
    dict(type='PillowColorJitter', prob=0.8),
    dict(type='RandomFlipWithText', prob=0.5),
    dict(type='LoadGroundingMasks', backend_args=backend_args),
    dict(type='PackGroundingInputs'),
]
test_pipeline = [
    dict(type='LoadGroundingImage', backend_args=backend_args),
    dict(type='Letterbox', size=image_size),
    dict(type='LoadGroundingMasks', backend_args=backend_args),
    dict(type='PackGroundingInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='SeededDefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        name=dataset_name,
        split='train',
        data_root=data_root,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    # Neighbours are expressions for one image, which is encoded once.
    sampler=dict(type='ContiguousSampler'),
    dataset=dict(
        type=dataset_type,
        name=dataset_name,
        split='val',
        data_root=data_root,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
# All splits in one run, each with results of its own. Another set is one option:
# --cfg-options test_dataloader.dataset.name=refcocog
test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='ContiguousSampler'),
    dataset=dict(
        type=dataset_type,
        name=dataset_name,
        split='held-out',
        data_root=data_root,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)

val_evaluator = dict(type='ReferringMetric')
test_evaluator = dict(type='ReferringMetric', breakdown=True)
