# PBREC for masks only.
_base_ = './pbrec-mt_r101_4xb32-15e_refcocog.py'

model = dict(head=dict(tasks=['res']), localisers=dict(box=None))
