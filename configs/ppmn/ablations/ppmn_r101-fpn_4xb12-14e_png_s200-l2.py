# Table 3, L = 2.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(num_rounds=2))
