# RefCOCO+: no words of position in its expressions. As RefCOCO otherwise.
_base_ = './refcoco.py'

dataset_name = 'refcoco+'
train_dataloader = dict(dataset=dict(name=dataset_name))
val_dataloader = dict(dataset=dict(name=dataset_name))
test_dataloader = dict(dataset=dict(name=dataset_name))
