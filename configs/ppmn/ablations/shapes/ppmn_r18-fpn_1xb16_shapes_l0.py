# No round: the first matching is the result (S = 0 of Table 2).
_base_ = '../../ppmn_r18-fpn_1xb16_shapes.py'

model = dict(head=dict(num_rounds=0))
