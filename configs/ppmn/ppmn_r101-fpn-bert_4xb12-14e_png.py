# The paper's text: BERT is trained too, at a constant learning rate of 1e-5.
_base_ = './ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(frozen=['backbone', 'neck.0'], dropout_in_frozen=[])
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(text_encoder=dict(lr_mult=0.1, constant_lr=True)))
)
param_scheduler = dict(type='PartMultiStepLR')
