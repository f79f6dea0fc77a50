# PBREC-MT on RefCOCOg, whose expressions are longer: 40 tokens.
_base_ = [
    '../_base_/models/pbrec-localised_r101.py',
    '../_base_/datasets/refcocog.py',
    '../_base_/schedules/pbrec_15e.py',
    '../_base_/default_runtime.py',
]

model = dict(text_encoder=dict(max_length=40))
train_dataloader = dict(batch_size=32)

# The official code selects by the best point, which needs no detector.
val_evaluator = dict(_delete_=True, type='PointAccuracy')
default_hooks = dict(checkpoint=dict(save_best='point/accuracy', rule='greater'))
auto_scale_lr = dict(enable=False, base_batch_size=128)
