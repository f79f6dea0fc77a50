# Trained and tested on the RefCOCO+ of Grounding Shapes: no words of position.
_base_ = '../../pbrec-mt_r18_shapes.py'

train_dataloader = dict(dataset=dict(name='refcoco+'))
val_dataloader = dict(dataset=dict(name='refcoco+'))
test_dataloader = dict(dataset=dict(name='refcoco+'))
