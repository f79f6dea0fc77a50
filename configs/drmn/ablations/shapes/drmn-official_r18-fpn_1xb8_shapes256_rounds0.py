# No round.
_base_ = '../../drmn-official_r18-fpn_1xb8_shapes256.py'

model = dict(head=dict(num_rounds=0))
