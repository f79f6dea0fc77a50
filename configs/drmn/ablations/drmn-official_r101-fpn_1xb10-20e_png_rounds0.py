# Table IV, 0 rounds.
_base_ = '../drmn-official_r101-fpn_1xb10-20e_png.py'

model = dict(head=dict(num_rounds=0))
