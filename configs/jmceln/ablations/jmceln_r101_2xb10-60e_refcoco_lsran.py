# Table 2, row 2: the baseline with LSRAN.
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

model = dict(head=dict(num_stages=0))
