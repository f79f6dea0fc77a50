# The SOLO that PBREC localises masks with on Grounding Shapes; trained on images of the train split
# only.
_base_ = [
    '../_base_/models/shapes_detectors.py',
    '../_base_/datasets/detection_shapes.py',
    '../_base_/schedules/detector_shapes.py',
]

model = {{_base_.solo}}
val_evaluator = dict(metric='segm')
test_evaluator = val_evaluator
