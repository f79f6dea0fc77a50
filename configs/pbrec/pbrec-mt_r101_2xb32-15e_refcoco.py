# The paper's total batch of 64.
_base_ = './pbrec-mt_r101_4xb32-15e_refcoco.py'

auto_scale_lr = dict(base_batch_size=64)
