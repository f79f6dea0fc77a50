# Table 2, row 3: the baseline with the cascade, without PAN.
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

model = dict(head=dict(use_lsran=False, use_alignment=False))
