# Eq. 6 as it is written: divided by the number of points twice.
_base_ = '../pbrec-mt_r101_4xb32-15e_refcoco+.py'

model = dict(head=dict(squared_norm=True))
