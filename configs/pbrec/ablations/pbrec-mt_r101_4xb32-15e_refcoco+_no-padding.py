# No loss on the padding, and a cell is padding if its centre is.
_base_ = '../pbrec-mt_r101_4xb32-15e_refcoco+.py'

model = dict(head=dict(ignore_padding=True, cell_anchor='centre'))
