# Eq. 3 as it is written, without the LayerNorm behind it.
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

model = dict(head=dict(norm_context=False))
