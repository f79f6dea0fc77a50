# JMCELN on RefCOCOg with the splits of UMD: longer expressions.
_base_ = './jmceln_r101_2xb10-60e_refcoco.py'

dataset_name = 'refcocog'
train_dataloader = dict(dataset=dict(name=dataset_name))
val_dataloader = dict(dataset=dict(name=dataset_name))
test_dataloader = dict(dataset=dict(name=dataset_name))
