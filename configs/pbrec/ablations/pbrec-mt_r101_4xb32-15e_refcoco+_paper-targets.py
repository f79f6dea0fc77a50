# Center-ness and mass-ness by Eqs. 1-4, which can leave a small target without a positive point.
_base_ = '../pbrec-mt_r101_4xb32-15e_refcoco+.py'

model = dict(head=dict(targets=dict(rec=dict(form='paper'), res=dict(form='paper'))))
