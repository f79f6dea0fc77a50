# 16 pixels a phrase.
_base_ = '../../drmn-official_r18-fpn_1xb8_shapes256.py'

model = dict(head=dict(refinement=dict(num_points=16)))
