# Table 2, row 4: stages end with Eq. 4.
_base_ = '../jmceln_r101_2xb10-60e_refcoco.py'

model = dict(head=dict(use_alignment=False))
