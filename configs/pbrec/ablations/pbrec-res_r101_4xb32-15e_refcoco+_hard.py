# Table 4, single task: 0-1 targets.
_base_ = '../pbrec-res_r101_4xb32-15e_refcoco+.py'

model = dict(head=dict(targets=dict(res=dict(hard=True))))
