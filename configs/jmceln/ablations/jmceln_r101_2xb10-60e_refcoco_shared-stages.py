# All stages have the same weights.
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

model = dict(head=dict(share_stages=True))
