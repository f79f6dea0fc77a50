# Table 4, single task: 0-1 targets.
_base_ = '../pbrec-rec_r101_4xb32-15e_refcoco+.py'

model = dict(head=dict(targets=dict(rec=dict(hard=True))))
