# Table 2, row 1: encoders, fusion and upsampling.
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

model = dict(head=dict(use_lsran=False, num_stages=0))
