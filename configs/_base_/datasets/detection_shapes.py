# The things of Grounding Shapes in the form of COCO detection, on a canvas of 192 pixels. Make them
# with:
# python tools/misc/make_shapes.py data/shapes --format refcoco --train 2000 --val 200
dataset_type = 'mmdet.CocoDataset'
data_root = 'data/shapes'
metainfo = dict(
    classes=(
        'ball', 'box', 'triangle', 'star', 'cross', 'ring', 'heart', 'diamond', 'arrow', 'crescent',
        'house', 'flower',
    )
)  # fmt: skip

load = dict(type='LoadImageFromFile', imdecode_backend='pillow')
# Pictures are square, so that they fill the canvas as they do where expressions are about them.
resize = dict(
    type='mmdet.Resize',
    scale=(192, 192),
    keep_ratio=True,
    backend='pillow',
    interpolation='bilinear',
)
train_pipeline = [
    load,
    dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
    resize,
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet.PackDetInputs'),
]
test_pipeline = [
    load,
    resize,
    dict(
        type='mmdet.PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='images/train2017/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='images/val2017/'),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmdet.CocoMetric',
    ann_file=f'{data_root}/annotations/instances_val2017.json',
    metric='bbox',
)
test_evaluator = val_evaluator
