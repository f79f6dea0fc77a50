# JMCELN on RefCOCO+: no words for places.
_base_ = './jmceln_r101_2xb10-60e_refcoco.py'

dataset_name = 'refcoco+'
train_dataloader = dict(dataset=dict(name=dataset_name))
val_dataloader = dict(dataset=dict(name=dataset_name))
test_dataloader = dict(dataset=dict(name=dataset_name))
