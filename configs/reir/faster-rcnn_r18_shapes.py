# The Faster R-CNN that proposes boxes on Grounding Shapes, and whose backbone and last stage
# describe them; trained on images of the train split only.
_base_ = [
    '../_base_/models/shapes_detectors.py',
    '../_base_/datasets/detection_shapes.py',
    '../_base_/schedules/detector_shapes.py',
]

attributes = (
    'red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'white', 'black',
    'plain', 'striped', 'dotted',
)  # fmt: skip

model = {{_base_.faster_rcnn}}

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        type='AttributeCocoDataset',
        metainfo=dict(attributes=attributes),
        pipeline=[
            {{_base_.load}},
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='LoadAttributes'),
            {{_base_.resize}},
            dict(type='mmdet.RandomFlip', prob=0.5),
            dict(type='PackAttributeInputs'),
        ],
    ),
)
# RoIAlign and NMS have no bfloat16 on the CPU.
optim_wrapper = dict(type='OptimWrapper')
auto_scale_lr = dict(base_batch_size=8)
