# RefCOCOg with the splits of UMD: longer expressions. As RefCOCO otherwise.
_base_ = './refcoco.py'

dataset_name = 'refcocog'
train_dataloader = dict(dataset=dict(name=dataset_name))
val_dataloader = dict(dataset=dict(name=dataset_name))
test_dataloader = dict(dataset=dict(name=dataset_name))
