# Table V, k = 400.
_base_ = '../drmn-official_r101-fpn_1xb10-20e_png.py'

model = dict(head=dict(refinement=dict(num_points=400)))
