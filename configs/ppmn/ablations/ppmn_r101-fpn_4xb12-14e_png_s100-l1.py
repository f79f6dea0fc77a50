# Table 2, S = 100, L = 1.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(num_rounds=1, refinement=dict(num_points=100)))
