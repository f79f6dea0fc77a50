# Grounding Shapes in the layout of Panoptic Narrative Grounding:
# python tools/misc/make_shapes.py data/shapes --format png --train 10000 --val 300 --size 128
dataset_type = 'PNGDataset'
data_root = 'data/shapes/'
vocab_file = data_root + 'vocab.txt'

train_pipeline = [
    dict(type='LoadGroundingImage'),
    # Enlarged: the backbone's first two halvings would leave little of a thing of 18 pixels.
    dict(
        type='Resize', scale=(192, 192), keep_ratio=True, backend='pillow', interpolation='bilinear'
    ),
    dict(type='LoadGroundingMasks'),
    dict(type='PackGroundingInputs'),
]
test_pipeline = train_pipeline

train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ImageGroupSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/png_coco_train2017.json',
        panoptic_ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(
            img_path='images/train2017/',
            seg_map_path='annotations/panoptic_segmentation/train2017/',
        ),
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
        ann_file='annotations/png_coco_val2017.json',
        panoptic_ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(
            img_path='images/val2017/', seg_map_path='annotations/panoptic_segmentation/val2017/'
        ),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='PNGMetric', protocol='original')
test_evaluator = val_evaluator
