# Table 3, L = 4.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(num_rounds=4))
