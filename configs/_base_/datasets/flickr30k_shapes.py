# Grounding Shapes in the layout of Flickr30k Entities, on a canvas of 192 pixels, with a detector's
# proposals. Make them with:
# python tools/misc/make_shapes.py data/shapes --format flickr30k referit --train 2000 --val 200
dataset_type = 'Flickr30kEntitiesDataset'
data_root = 'data/shapes'
# Of the data root.
relations = 'flickr30k/relations.json'
proposals = f'{data_root}/proposals.db'
folders = dict(sentences='flickr30k/Sentences', boxes='flickr30k/Annotations')

# As the detector sees pictures. They all look the same each time, so that features can be cached.
train_pipeline = [
    dict(type='LoadGroundingImage'),
    dict(
        type='Resize',
        scale=(192, 192),
        keep_ratio=True,
        backend='pillow',
        interpolation='bilinear',
    ),
    dict(type='LoadProposals', path=proposals, num=50),
    dict(type='PackGroundingInputs'),
]
test_pipeline = train_pipeline

train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='SeededInfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/train2017', **folders),
        ann_file='flickr30k/train.txt',
        relations=relations,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=20,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='ContiguousSampler'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/val2017', **folders),
        ann_file='flickr30k/val.txt',
        relations=relations,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=20,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='ContiguousSampler'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/test2017', **folders),
        ann_file='flickr30k/test.txt',
        relations=relations,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)

val_evaluator = dict(type='PhraseGroundingMetric')
test_evaluator = val_evaluator
