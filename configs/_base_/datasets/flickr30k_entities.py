# Flickr30k Entities, one caption of an image a sample, with the proposals of a detector and the
# relations that were parsed from the captions.
dataset_type = 'Flickr30kEntitiesDataset'
data_root = 'data/flickr30k/'
proposals = 'data/flickr30k/proposals.db'
# Of the data root.
relations = 'relations.json'
backend_args = None

# As the bottom-up-attention detector sees images: the shorter side 600, the longer 1000 at most.
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
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='train.txt',
        relations=relations,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    # Neighbours are captions of one image, which is encoded once.
    sampler=dict(type='ContiguousSampler'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='val.txt',
        relations=relations,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='ContiguousSampler'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='test.txt',
        relations=relations,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)

val_evaluator = dict(type='PhraseGroundingMetric')
test_evaluator = val_evaluator
