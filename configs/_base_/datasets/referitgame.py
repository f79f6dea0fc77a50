# ReferItGame in the layout of the refer API, one expression a sample, with the proposals of a
# detector.
dataset_type = 'ReferItGameDataset'
data_root = 'data/refcoco/'
proposals = 'data/refcoco/proposals_refclef.db'
backend_args = None

train_pipeline = [
    dict(type='LoadGroundingImage', backend_args=backend_args),
    dict(type='Resize', scale=(1000, 600), keep_ratio=True),
    dict(type='LoadProposals', path=proposals, num=50),
    dict(type='PackGroundingInputs'),
]
test_pipeline = train_pipeline

train_dataloader = dict(
    batch_size=10,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='SeededInfiniteSampler', shuffle=True),
    dataset=dict(type=dataset_type, split='train', data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    # Neighbours are expressions for one image, which is encoded once.
    sampler=dict(type='ContiguousSampler'),
    dataset=dict(
        type=dataset_type,
        split='val',
        data_root=data_root,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='ContiguousSampler'),
    dataset=dict(
        type=dataset_type,
        split='test',
        data_root=data_root,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)

val_evaluator = dict(type='PhraseGroundingMetric')
test_evaluator = val_evaluator
