# The Faster R-CNN that proposes boxes on Grounding Shapes, and whose backbone and last stage
# describe them; trained on images of the train split only.
_base_ = [
    '../_base_/models/shapes_detectors.py',
    '../_base_/datasets/detection_shapes.py',
    '../_base_/schedules/detector_shapes.py',
]

model = {{_base_.faster_rcnn}}

train_dataloader = dict(batch_size=8)
# RoIAlign and NMS have no bfloat16 on the CPU.
optim_wrapper = dict(type='OptimWrapper')
auto_scale_lr = dict(base_batch_size=8)
