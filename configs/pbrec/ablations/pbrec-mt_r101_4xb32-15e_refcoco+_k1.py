# Table 5, k = 1: center + conf, mass. For evaluation; the weights are those of the base.
_base_ = '../pbrec-mt_r101_4xb32-15e_refcoco+.py'

model = dict(head=dict(test_cfg=dict(topk=1)))
