# Panoptic Narrative Grounding on COCO 2017, in the layout of the benchmark's download.
dataset_type = 'PNGDataset'
data_root = 'data/png/'
vocab_file = 'data/bert-base-uncased/vocab.txt'
backend_args = None

load_and_resize = [
    dict(type='LoadGroundingImage', backend_args=backend_args),
    dict(
        type='mmdet.ResizeShortestEdge',
        scale=800,
        max_size=1333,
        backend='pillow',
        interpolation='bilinear',
    ),
]
train_pipeline = [
    *load_and_resize,
    dict(type='LoadGroundingMasks', backend_args=backend_args),
    dict(type='PackGroundingInputs'),
]
test_pipeline = train_pipeline

train_dataloader = dict(
    batch_size=12,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='SeededDefaultSampler', shuffle=True),
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
# One narrative a batch, because the published numbers depend on the padding of a batch.
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
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
        # The published numbers leave out the narratives that the official preparation drops.
        legacy_alignment=True,
        vocab_file=vocab_file,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='PNGMetric', protocol=['original', 'ppmn'])
test_evaluator = val_evaluator
