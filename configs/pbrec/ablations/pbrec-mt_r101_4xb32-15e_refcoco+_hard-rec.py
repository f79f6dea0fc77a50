# Table 4, multi task: 0-1 targets for boxes.
_base_ = '../pbrec-mt_r101_4xb32-15e_refcoco+.py'

model = dict(head=dict(targets=dict(rec=dict(hard=True))))
