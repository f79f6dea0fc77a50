# Trained and tested on the RefCOCOg of Grounding Shapes: longer expressions, 40 tokens.
_base_ = '../../pbrec-mt_r18_shapes.py'

model = dict(text_encoder=dict(max_length=40))
train_dataloader = dict(dataset=dict(name='refcocog'))
val_dataloader = dict(dataset=dict(name='refcocog'))
test_dataloader = dict(dataset=dict(name='refcocog'))
