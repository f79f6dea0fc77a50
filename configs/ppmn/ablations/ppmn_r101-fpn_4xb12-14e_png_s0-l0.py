# Table 2, S = 0: no pixel is aggregated, so there is no round; the first matching is the result.
_base_ = '../ppmn_r101-fpn_4xb12-14e_png.py'

model = dict(head=dict(num_rounds=0))
