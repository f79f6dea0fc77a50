# Eqs. 1-4, but each target has a positive point.
_base_ = '../pbrec-mt_r101_4xb32-15e_refcoco+.py'

model = dict(head=dict(targets=dict(rec=dict(form='fixed'), res=dict(form='fixed'))))
