# F_v3 is the ResNet's last stage, without CLIP's attention pool.
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

model = dict(backbone=dict(attention_pool=None), head=dict(in_channels=(512, 1024, 2048)))
